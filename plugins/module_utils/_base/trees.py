# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove directory trees of any depth and with paths of any length, because a container may have created them.

Each entry is accessed through the descriptor of its directory, and only one directory is open at a time: a path may be longer
than PATH_MAX, and a tree deeper than the limits for descriptors or recursion. No function follows symbolic links.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys

from . import mountinfo
from .errors import LongshoreError, reason_of

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HOLDING = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_NAMES = 10000  # of directories in one directory, remembered at once
_MOST_REPEATS = 100
_EMPTY_PATH, _MOUNT_ID = 0x1000, 0x1000  # AT_EMPTY_PATH, STATX_MNT_ID
_SHOWN = 200  # characters of a path in a message
_DETACH_NOFOLLOW = 2 | 8  # MNT_DETACH, UMOUNT_NOFOLLOW of umount2(2)


class Level:
    """A directory between the top and the current one. ``below``: the directories in it that are still to be visited."""

    def __init__(self, descriptor: int, below: list[str], *, more: bool = False) -> None:
        status = os.fstat(descriptor)
        self.identity = status.st_dev, status.st_ino
        self.below = below
        self.more = more  # whether it has more directories than fit in ``below``


class Way:
    """The path from a top directory to the current one, whose descriptor is ``here``."""

    def __init__(self, top: int) -> None:
        self.here = os.dup(top)
        self.levels: list[Level] = []

    def __enter__(self) -> Way:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self.here)

    def down(self, descriptor: int) -> None:
        os.close(self.here)
        self.here = descriptor

    def up(self) -> None:
        """Go to the parent directory. Raises LongshoreError if the current one was moved since it was entered."""
        above = os.open("..", _HOLDING, dir_fd=self.here)
        self.down(above)
        self.levels.pop()
        status = os.fstat(above)
        if (status.st_dev, status.st_ino) != self.levels[-1].identity:
            raise LongshoreError("one of its directories was moved in the meantime.")

    def path(self) -> str:
        return "/".join(level.below[-1] for level in self.levels if level.below)


def remove(path: str) -> None:
    """Remove a directory tree, if it exists. Refuse a tree with a mount in it before anything is removed."""
    refuse_mounts(path)
    parent, name = os.path.split(path.rstrip("/"))
    try:
        above = os.open(parent or ".", _HOLDING & ~os.O_NOFOLLOW)
        try:
            if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                raise LongshoreError("it is not a directory.")
            remove_at(above, name)
        finally:
            os.close(above)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as exc:
        raise LongshoreError(f"Cannot remove {path}: {reason_of(exc)}.") from exc
    except LongshoreError as exc:
        raise LongshoreError(f"Cannot remove {path}: {exc.message}", hint=exc.hint) from exc


def remove_at(parent: int, name: str) -> None:
    """Remove an entry of an open directory, and the whole tree if it is a directory. Raises LongshoreError and OSError."""
    repeats = _MOST_REPEATS
    with Way(parent) as way:
        mount = mount_of(way.here)
        way.levels.append(Level(way.here, [name]))
        while way.levels[0].below:
            below = way.levels[-1].below
            if below:
                inner = _enter(way.here, below[-1])
                if inner is None:
                    below.pop()
                    continue
                way.down(inner)
                way.levels.append(Level(inner, []))
                if mount_of(inner) != mount:
                    raise LongshoreError(f"something is mounted at {way.path()[-_SHOWN:]}.", hint="Unmount it first.")
                way.levels[-1].below, way.levels[-1].more = _empty(inner)
                continue
            expected = way.levels[-1].more
            try:
                way.up()
                os.rmdir(way.levels[-1].below[-1], dir_fd=way.here)
                way.levels[-1].below.pop()
            except FileNotFoundError:
                way.levels[-1].below.pop()
            except (OSError, LongshoreError) as exc:
                # Another process (such as an ending conmon) writes there, or has moved it: enter it again.
                repeats -= 0 if expected else 1
                if repeats < 0 or getattr(exc, "errno", errno.ENOTEMPTY) not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if isinstance(exc, LongshoreError):
                    way.down(os.dup(parent))
                    del way.levels[1:]


def _enter(parent: int, name: str) -> int | None:
    """Open a directory and give its owner all permissions. Unlink any other entry and return None, also if it does not exist."""
    try:
        found = os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        return None
    except PermissionError:
        _permit(parent, name)
        found = os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as exc:
        if exc.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(name, dir_fd=parent)
        return None
    if os.geteuid() != 0 and os.fstat(found).st_mode & 0o700 != 0o700:
        _permit(parent, name)
    return found


def _empty(directory: int) -> tuple[list[str], bool]:
    """Unlink all entries that are not directories. Return names of directories, and whether there are more of them."""
    found: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.name, dir_fd=directory)
            elif len(found) == _MOST_NAMES:
                return found, True
            else:
                found.append(entry.name)
    return found, False


def _permit(parent: int, name: str) -> None:
    """Give the owner of a directory all permissions. Use a descriptor, because chmod(2) follows symbolic links."""
    holding = os.open(name, _HOLDING, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{holding}", 0o700)
    finally:
        os.close(holding)


def mount_of(descriptor: int) -> str:
    """Return the id of the mount of a descriptor. The device is no substitute: a bind mount has the device of its source.

    It is the id in the mount table. statx(2) returns it since Linux 5.8. Older kernels have it in fdinfo (proc(5)).
    """
    answer, libc = bytearray(256), ctypes.CDLL(None)
    if hasattr(libc, "statx"):
        buffer = (ctypes.c_char * len(answer)).from_buffer(answer)
        failed = libc.statx(descriptor, b"", _EMPTY_PATH, _MOUNT_ID, buffer)
        if not failed and int.from_bytes(answer[:4], sys.byteorder) & _MOUNT_ID:  # stx_mask
            return str(int.from_bytes(answer[0x90:0x98], sys.byteorder))  # stx_mnt_id
    about = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(about, 4096).partition(b"mnt_id:")[2].split()[0].decode()
    finally:
        os.close(about)


def mounted(path: str) -> list[str]:
    """Return the mount points at a path and below it, in the order of the mount table."""
    parent, name = os.path.split(path.rstrip("/"))
    # A link that is removed is not followed.
    real = os.path.realpath(path) if name in ("", ".", "..") else os.path.join(os.path.realpath(parent), name)
    below = real.rstrip("/") + "/"
    return [mount.place for mount in mountinfo.read() if f"{mount.place}/".startswith(below)]


def refuse_mounts(*paths: str) -> None:
    """Refuse directories with a mount in them, before anything is removed. Call this before every removal, also by a runtime:
    a removal through a mount deletes files of another place."""
    for path in paths:
        for place in mounted(path):
            raise LongshoreError(f"Cannot remove {path}: something is mounted at {place}.", hint="Unmount it first.")


def unmount(path: str) -> None:
    """Unmount all mounts at a path and below it, also those in use. Raises LongshoreError if the mount table still has one of
    them afterwards."""
    places = mounted(path)
    if not places:
        return
    reasons = {}
    for place in reversed(places):
        # Call the kernel directly: umount(8) reads other files first, and may be a different program.
        if ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(place), _DETACH_NOFOLLOW) != 0:
            reasons[place] = os.strerror(ctypes.get_errno())
    for place in mounted(path):
        reason = reasons.get(place, "another file system is mounted there again")
        raise LongshoreError(f"Cannot unmount {place}: {reason}.", hint=f"Unmount it, then {path} can be removed.")
