# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a directory in which something is mounted, such as a chroot in use, without what is mounted there.

``cp --one-file-system`` would leave out subvolumes of Btrfs too, and copy mounts of files and of the same file system. A mount point is
an empty directory in the copy, and a mounted file is left out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import typing as t

from .._base.trees import mounted

_AT_ONCE = 200  # names in a command line
EMPTY = os.stat_result((stat.S_IFDIR | 0o755, *[0] * 9), {"st_rdev": 0})  # what a mount point is taken for


def mounts_below(path: str) -> frozenset[str]:
    """Return the paths below a directory at which something is mounted, relative to it."""
    real = os.path.realpath(path).rstrip("/")
    return frozenset(place[len(real) + 1 :] for place in mounted(real or "/") if place != (real or "/"))


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
