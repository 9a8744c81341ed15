# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directory trees that a container may have filled: walked and removed, however deep they are and however long their paths.

Everything is reached by the descriptor of the directory that it is in, and one directory is open at a time: a path may be
longer than the kernel takes (PATH_MAX), and a tree deeper than descriptors or a recursion go. No symbolic link is followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import stat
import sys
import typing as t

from .errors import EngineError, reason_of

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HOLDING = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_NAMES = 10000  # of directories in one directory, remembered at once
_MOST_REPEATS = 100
_EMPTY_PATH, _MOUNT_ID = 0x1000, 0x1000  # AT_EMPTY_PATH, STATX_MNT_ID
_SHOWN = 200  # characters of a path in a message
_DETACH_NOFOLLOW = 2 | 8  # MNT_DETACH, UMOUNT_NOFOLLOW of umount2(2)


class Entry(t.NamedTuple):
    """Something in a tree. ``path`` is relative to its top, ``at`` is a short path of it, for as long as it is the current one."""

    path: str
    at: str
    status: os.stat_result


class _Level:
    """A directory on the way down. ``below``: the directories in it that are still to come."""

    def __init__(self, descriptor: int, below: list[str], *, more: bool = False) -> None:
        status = os.fstat(descriptor)
        self.identity = status.st_dev, status.st_ino
        self.below = below
        self.more = more  # directories than there was room for in ``below``


class _Way:
    """The way from a top directory down to the current one, whose descriptor is ``here``."""

    def __init__(self, top: int) -> None:
        self.here = os.dup(top)
        self.levels: list[_Level] = []

    def __enter__(self) -> _Way:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self.here)

    def down(self, descriptor: int) -> None:
        os.close(self.here)
        self.here = descriptor

    def up(self) -> None:
        """Go to the directory above. Raises EngineError where the current one was moved since it was entered."""
        above = os.open("..", _HOLDING, dir_fd=self.here)
        self.down(above)
        self.levels.pop()
        status = os.fstat(above)
        if (status.st_dev, status.st_ino) != self.levels[-1].identity:
            raise EngineError("one of its directories was moved meanwhile.")

    def path(self) -> str:
        return "/".join(level.below[-1] for level in self.levels if level.below)


def walk(top: str) -> t.Iterator[Entry]:
    """Yield everything below a directory, a directory before what is in it, and sorted by name in each. Raises OSError."""
    start = os.open(top, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        with _Way(start) as way:
            way.levels.append(_Level(way.here, _listed(way.here)))
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
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # gone meanwhile
                    status = os.stat(name, dir_fd=way.here, follow_symlinks=False)
                    yield Entry(prefixes[-1] + name, f"/proc/self/fd/{way.here}/{name}", status)
                    if not stat.S_ISDIR(status.st_mode):
                        continue
                    way.down(os.open(name, _DIRECTORY, dir_fd=way.here))
                    way.levels.append(_Level(way.here, _listed(way.here)))
                    prefixes.append(f"{prefixes[-1]}{name}/")
    finally:
        os.close(start)


def _listed(directory: int) -> list[str]:
    return sorted(os.listdir(directory), reverse=True)


def remove(path: str) -> None:
    """Remove a directory with all that is in it. One that is gone is fine; a mount in it is a refusal, before anything is removed."""
    refuse_mounts(path)
    parent, name = os.path.split(path)
    try:
        above = os.open(parent or ".", _HOLDING & ~os.O_NOFOLLOW)
        try:
            if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                raise EngineError("it is not a directory.")
            remove_at(above, name)
        finally:
            os.close(above)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as exc:
        raise EngineError(f"Cannot remove {path}: {reason_of(exc)}.") from exc
    except EngineError as exc:
        raise EngineError(f"Cannot remove {path}: {exc.message}", hint=exc.hint) from exc


def remove_at(parent: int, name: str) -> None:
    """Remove what has a name in an open directory, a directory with all that is in it. Raises EngineError and OSError."""
    repeats = _MOST_REPEATS
    with _Way(parent) as way:
        mount = mount_of(way.here)
        way.levels.append(_Level(way.here, [name]))
        while way.levels[0].below:
            below = way.levels[-1].below
            if below:
                inner = _enter(way.here, below[-1])
                if inner is None:
                    below.pop()
                    continue
                way.down(inner)
                way.levels.append(_Level(inner, []))
                if mount_of(inner) != mount:
                    raise EngineError(f"something is mounted at {way.path()[-_SHOWN:]}.", hint="Unmount it first.")
                way.levels[-1].below, way.levels[-1].more = _empty(inner)
                continue
            expected = way.levels[-1].more
            try:
                way.up()
                os.rmdir(way.levels[-1].below[-1], dir_fd=way.here)
                way.levels[-1].below.pop()
            except FileNotFoundError:
                way.levels[-1].below.pop()
            except (OSError, EngineError) as exc:
                # Somebody writes there (a conmon that is just ending), or has moved it: it is entered once more.
                repeats -= 0 if expected else 1
                if repeats < 0 or getattr(exc, "errno", errno.ENOTEMPTY) not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if isinstance(exc, EngineError):
                    way.down(os.dup(parent))
                    del way.levels[1:]


def _enter(parent: int, name: str) -> int | None:
    """Open a directory with all rights for its owner. What is none is unlinked; None for that, and where nothing is."""
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
    """Unlink all that is no directory; returns the names of directories, and whether there are more of them."""
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
    """Give the owner of a directory all rights in it. By a descriptor, since chmod(2) follows symbolic links."""
    holding = os.open(name, _HOLDING, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{holding}", 0o700)
    finally:
        os.close(holding)


def mount_of(descriptor: int) -> str:
    """Return the id of the mount that a descriptor is on. Its device would not tell: a bind mount has the one of its source.

    It is the number of the table of mounts, which statx(2) tells since Linux 5.8, and fdinfo (proc(5)) elsewhere.
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
    """Return the places at a path and below it where something is mounted, in the order of the table of mounts."""
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    # Blanks, tabs, line feeds and backslashes are octal there (proc(5)); what else ends a line for Python is not.
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
        fields = [line.split(" ")[4] for line in stream]
    places = [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), field) for field in fields]
    return [place for place in places if f"{place}/".startswith(f"{real}/")]


def refuse_mounts(*paths: str) -> None:
    """Refuse directories with a mount in them, before anything is removed. Every remover asks this first, runtimes included:
    what is removed through a mount is lost somewhere else."""
    for path in paths:
        for place in mounted(path):
            raise EngineError(f"Cannot remove {path}: something is mounted at {place}.", hint="Unmount it first.")


def unmount(path: str) -> None:
    """Unmount whatever is mounted at a path and below it, also what is in use. Raises EngineError where the table of mounts
    still has some of it afterwards."""
    places = mounted(path)
    if not places:
        return
    reasons = {}
    for place in reversed(places):
        # By the kernel's own call: umount(8) asks other files first, and another program may have its place.
        if ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(place), _DETACH_NOFOLLOW) != 0:
            reasons[place] = os.strerror(ctypes.get_errno())
    for place in mounted(path):
        reason = reasons.get(place, "something is mounted there again")
        raise EngineError(f"Cannot unmount {place}: {reason}.", hint=f"Unmount it first: then {path} can be removed.")
