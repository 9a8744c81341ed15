# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walk directory trees that a container may have created: of any depth, and with paths of any length (trees.py)."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from .._base.trees import Level, Way

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Entry(t.NamedTuple):
    """An entry of a tree. ``path`` is relative to its top, ``at`` is a short path that is valid while the entry is the current one."""

    path: str
    at: str
    status: os.stat_result


def walk(top: str, *, closed: t.Container[str] = ()) -> t.Iterator[Entry]:
    """Yield all entries below a directory, each directory before its content, sorted by name. Do not enter ``closed`` ones, which
    are paths below it. Raises OSError."""
    start = os.open(top, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        with Way(start) as way:
            way.levels.append(Level(way.here, _listed(way.here)))
            prefixes = [""]
            while True:
                below = way.levels[-1].below
                if not below and len(way.levels) == 1:
                    return
                if not below:
                    way.up()
                    prefixes.pop()
                    continue
                name = below.pop()
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # removed in the meantime
                    status = os.stat(name, dir_fd=way.here, follow_symlinks=False)
                    yield Entry(prefixes[-1] + name, f"/proc/self/fd/{way.here}/{name}", status)
                    if not stat.S_ISDIR(status.st_mode) or prefixes[-1] + name in closed:
                        continue
                    way.down(os.open(name, _DIRECTORY, dir_fd=way.here))
                    way.levels.append(Level(way.here, _listed(way.here)))
                    prefixes.append(f"{prefixes[-1]}{name}/")
    finally:
        os.close(start)


def _listed(directory: int) -> list[str]:
    return sorted(os.listdir(directory), reverse=True)
