# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove temporary files of ``files.write_text`` whose task was killed before it could rename them.

Most of them are in a directory that is removed as a whole. These functions are for the other places. A file of a user may
have any name, so the name alone proves nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time

from .files import remove_file
from .process import identify

_ADDED = re.compile(r"(.+)\.([1-9][0-9]{0,9})\.[0-9a-f]{8}")
_INEXACT = 2  # seconds between the clock of files and that of processes


def find(directory: str, names: str) -> list[str]:
    """Return the temporary files for files whose name matches ``names``, if they belong to this user and have one link."""
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(directory):
            parts = _ADDED.fullmatch(name)
            if parts and re.fullmatch(names, parts[1]) and _is_plain(f"{directory}/{name}"):
                found.append(name)
    return found


def clear(directory: str, names: str) -> None:
    """Remove the temporary files of ended tasks. Raises LongshoreError."""
    for name in find(directory, names):
        if not _is_at_work(int(name.split(".")[-2]), f"{directory}/{name}"):
            remove_file(f"{directory}/{name}")


def _is_plain(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_uid == os.geteuid()
        and found.st_nlink == 1
        and not found.st_mode & 0o133
    )


def _is_at_work(pid: int, path: str) -> bool:
    """Tell whether the task may still rename the file. A later process with the same pid is younger than the file."""
    who = identify(pid)
    if who is None:
        return False
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - who.start / os.sysconf("SC_CLK_TCK")
    try:
        return time.time() - os.lstat(path).st_mtime <= age + _INEXACT
    except OSError:
        return False
