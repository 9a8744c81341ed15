# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and copy a directory in which something is mounted, such as a chroot in use, without what is mounted there.

Root gets another mount of the directory, which nothing is mounted in (open_tree(2), since Linux 5.2), so the files below the mounts are
there, and no file system that is mounted there is asked for anything. Otherwise a mount point is an empty directory in the copy, and
a mounted file is left out. ``cp --one-file-system`` would leave out subvolumes of Btrfs too, and copy mounts of files and of the same
file system.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import typing as t

from .._base.trees import mounted

OPEN_TREE = 428  # the number of the call
_CLONE = 1  # OPEN_TREE_CLONE, without AT_RECURSIVE
_AT_ONCE = 200  # names in a command line
EMPTY = os.stat_result((stat.S_IFDIR | 0o755, *[0] * 9), {"st_rdev": 0})  # what a mount point is taken for


def mounts_below(path: str) -> frozenset[str]:
    """Return the paths below a directory at which something is mounted, relative to it."""
    real = os.path.realpath(path).rstrip("/")
    return frozenset(place[len(real) + 1 :] for place in mounted(real or "/") if place != (real or "/"))


@contextlib.contextmanager
def uncovered(path: str) -> t.Iterator[tuple[str, frozenset[str]]]:
    """Yield a path of a directory without what is mounted below it, and no mounts. Where that is impossible, yield the given path and
    ``mounts_below`` it. The path is valid in other processes of this user too, as long as this one holds it."""
    mounts = mounts_below(path)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = (
        libc.syscall(OPEN_TREE, -1, os.fsencode(os.path.abspath(path)), _CLONE | os.O_CLOEXEC) if mounts else -1
    )
    if descriptor < 0:
        yield path, mounts
        return
    try:
        yield f"/proc/{os.getpid()}/fd/{descriptor}/.", frozenset()
    finally:
        os.close(descriptor)


def copy(
    files: str, to: str, mounts: t.Collection[str], cp: t.Callable[[t.Sequence[str]], object], at: str = ""
) -> None:
    """Copy ``files``, with these mounts below it, to ``to``. ``cp`` runs the program with its last arguments."""
    os.mkdir(to + at, 0o700)
    whole = []
    for name in sorted(os.listdir(files + at)):
        path = f"{at}/{name}"
        if path[1:] in mounts:
            if os.path.isdir(files + path):
                os.mkdir(to + path)
                os.chmod(to + path, stat.S_IMODE(EMPTY.st_mode))
        elif any(mount.startswith(f"{path[1:]}/") for mount in mounts):
            copy(files, to, mounts, cp, path)
        else:
            whole.append(files + path)
    for start in range(0, len(whole), _AT_ONCE):
        cp(["--target-directory", to + at, *whole[start : start + _AT_ONCE]])
    found = os.stat(files + at)
    with contextlib.suppress(PermissionError):  # as cp for a user other than root
        os.chown(to + at, found.st_uid, found.st_gid)
    shutil.copystat(files + at, to + at)
