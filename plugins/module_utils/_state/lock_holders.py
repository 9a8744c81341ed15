# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the holders of a lock, for the error of a task that waited too long. This locks and writes nothing."""

from __future__ import annotations

import contextlib
import os

from .._base.errors import LongshoreError
from .._base.files import read_text


def holders(path: str) -> list[str]:
    """Return the processes that hold an flock on a file, as ``process 12 (runc)``. Only root sees those of other users.

    The kernel lists a lock with each descriptor of the open file (fdinfo, proc(5)), so this also finds a program that has
    inherited the lock. /proc/locks only names the task that took it, which may have ended.
    """
    found, path = [], os.path.realpath(path)  # the kernel uses the path without links: /var/run is a link
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, LongshoreError):
            if any(_holds(pid, number, path) for number in os.listdir(f"/proc/{pid}/fd")):
                found.append(f"process {pid} ({(read_text(f'/proc/{pid}/comm') or '').strip()})")
    return found


def _holds(pid: str, number: str, path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        same = os.readlink(f"/proc/{pid}/fd/{number}") == path
        return same and "lock:" in (read_text(f"/proc/{pid}/fdinfo/{number}") or "")
    return False
