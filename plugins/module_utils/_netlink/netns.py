# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named network namespaces, like those of ``ip netns``, and functions that run in them. The caller never leaves its own.

Work in another namespace runs in a thread that enters it and ends there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
import typing as t

from .._base.errors import LongshoreError, reason_of
from .._base.files import make_directory, read_text, remove_file

DIRECTORY = "/run/netns"
_FORWARDING = "/proc/sys/net/ipv4/ip_forward"
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 0x1000, 0x4000, 0x100000, 2
_Result = t.TypeVar("_Result")


def path_of(name: str) -> str:
    return f"{DIRECTORY}/{name}"


def exists(name: str) -> bool:
    """Tell whether a namespace exists. A killed ``ip netns add`` leaves a file without a mounted namespace."""
    path = path_of(name)
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_dev != os.stat(DIRECTORY).st_dev
    return False


def inode(name: str) -> int | None:
    """Return the inode of a namespace, which is unique while it exists, or None."""
    return os.stat(path_of(name)).st_ino if exists(name) else None


def create(name: str) -> None:
    """Create a namespace. Raises LongshoreError. After a kill at any point, the next call completes the work."""
    with _new_file(name) as path:
        _in_thread(lambda: _new_at(path))


def attach(name: str, descriptor: int) -> None:
    """Give an existing namespace a name. Raises LongshoreError. A kill is as for create()."""
    with _new_file(name) as path:
        _mount(f"/proc/self/fd/{descriptor}", path, _MS_BIND)


@contextlib.contextmanager
def _new_file(name: str) -> t.Iterator[str]:
    """Create the file to mount a namespace on."""
    path = path_of(name)
    make_directory(DIRECTORY, mode=0o755)
    try:
        _share()
        remove_file(path)
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        yield path
    except OSError as exc:
        raise LongshoreError(f"Cannot create the network namespace {name}: {reason_of(exc)}.") from exc


def _share() -> None:
    """Share the directory, so that other mount namespaces see new and removed mounts there."""
    try:
        _mount("none", DIRECTORY, _MS_SHARED | _MS_REC)
    except OSError as exc:
        if exc.errno != errno.EINVAL:  # not a mount yet
            raise
        _mount(DIRECTORY, DIRECTORY, _MS_BIND | _MS_REC)
        _mount("none", DIRECTORY, _MS_SHARED | _MS_REC)


def _new_at(path: str) -> None:
    _checked("unshare", ctypes.c_int(_CLONE_NEWNET))
    _stop_forwarding()
    _mount(f"/proc/self/task/{threading.get_native_id()}/ns/net", path, _MS_BIND)


def _stop_forwarding() -> None:
    """Disable forwarding. A new namespace inherits the value of the host, and would be a router between two bridges."""
    if (read_text(_FORWARDING) or "0").strip() != "0":
        with open(_FORWARDING, "w", encoding="ascii") as stream:
            stream.write("0")


def remove(name: str) -> None:
    path = path_of(name)
    if os.path.lexists(path):
        try:
            _checked("umount2", ctypes.c_char_p(os.fsencode(path)), ctypes.c_int(_MNT_DETACH))
        except OSError as exc:
            if exc.errno != errno.EINVAL:  # nothing is mounted there
                raise LongshoreError(f"Cannot unmount {path}: {reason_of(exc)}.") from exc
        remove_file(path)


@contextlib.contextmanager
def hidden(name: str) -> t.Iterator[int]:
    """Remove a namespace from its directory, so that no process can enter it by name. Yield a descriptor of it. An exception in
    the block puts it back."""
    descriptor = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        remove(name)
        try:
            yield descriptor
        except BaseException:
            attach(name, descriptor)
            raise
    finally:
        os.close(descriptor)


def inside(name: str, work: t.Callable[[], _Result]) -> _Result:
    """Run ``work`` in the namespace and return its result."""
    with opened(path_of(name)) as descriptor:
        return inside_of(descriptor, work)


@contextlib.contextmanager
def opened(path: str) -> t.Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def inside_of(descriptor: int, work: t.Callable[[], _Result]) -> _Result:
    """Do what inside() does, in the namespace of a descriptor."""

    def enter() -> _Result:
        _checked("setns", ctypes.c_int(descriptor), ctypes.c_int(_CLONE_NEWNET))
        return work()

    return _in_thread(enter)


def users(where: str | int) -> list[int]:
    """Return the processes in a namespace, given as its path or a descriptor. Read all of /proc."""
    return users_of(os.stat(where).st_ino)


def users_of(inode: int) -> list[int]:
    """Return the processes in the namespace with an inode."""
    wanted, found = (os.stat("/proc/self/ns/net").st_dev, inode), []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{entry}/ns/net")
                if (status.st_dev, status.st_ino) == wanted:
                    found.append(int(entry))
    return sorted(found)


def _in_thread(work: t.Callable[[], _Result]) -> _Result:
    results: list[_Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as exc:  # raised again in the thread that waits
            errors.append(exc)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _mount(source: str, target: str, flags: int) -> None:
    words = ctypes.c_char_p(os.fsencode(source)), ctypes.c_char_p(os.fsencode(target))
    _checked("mount", *words, ctypes.c_char_p(b"none"), ctypes.c_ulong(flags), None)


def _checked(call: str, *arguments: t.Any) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), call)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
