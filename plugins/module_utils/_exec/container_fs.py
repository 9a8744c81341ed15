# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the file system of a running container from outside, as its processes see it, with all its mounts.

The container controls the content, so it is not trusted. Every path is walked name by name, and symbolic links are resolved
from the container's root, so that none leads out, even if the container changes them at the same time. (openat2(2) has the
flag RESOLVE_IN_ROOT for that, but only since Linux 5.6.) The content cannot block a task either: no directory on a file
system that a process of the container may serve (FUSE) is entered, and no special file of the kernel is read as text.
"""

from __future__ import annotations

import errno
import os
import stat
import typing as t

from .._base import mountinfo
from .._base.accounts import MOST_BYTES
from .._base.errors import LongshoreError
from .._base.trees import mount_of

_MOST_LINKS = 40  # the limit of the kernel, path_resolution(7)
_HOLDING = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# The kernel serves these itself. Others are trusted if this host has the same one mounted.
_MEMORY = frozenset(["tmpfs", "ramfs", "devtmpfs", "devpts", "mqueue", "hugetlbfs"])
_DISKS = frozenset(["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "erofs", "squashfs", "iso9660", "vfat"])
# Reading there may block, may have side effects, or may return secrets of root (/proc/kmsg).
_KERNEL = frozenset(
    [
        "proc",
        "sysfs",
        "cgroup",
        "cgroup2",
        "tracefs",
        "debugfs",
        "securityfs",
        "configfs",
        "bpf",
        "pstore",
        "efivarfs",
        "binfmt_misc",
        "fusectl",
        "selinuxfs",
    ]
)


class TooLarge(LongshoreError):
    """A file is larger than what is read of it. Another program may read it, and need not wait for anything."""


class Rootfs:
    """A file system. ``top`` is ``/proc/PID/root`` of a process in it. The constructor does no I/O, and only open() leaves a file open."""

    def __init__(self, top: str) -> None:
        self._top = top
        self._mounts: dict[str, tuple[str, str]] = {}
        self._root = ""  # the device of the container's root

    def read_text(self, path: str, *, limit: int = MOST_BYTES) -> str | None:
        """Return the text of a regular file of at most ``limit`` bytes, or None if it does not exist. Never block.

        Raises LongshoreError for anything else. Bytes that are not UTF-8 become lone surrogates.
        """
        try:
            stream = self.open(path)
            if stream is None:
                return None
            with stream:
                data = stream.read(limit + 1) or b""
        except OSError as exc:
            raise _unseen(path, exc) from exc
        if len(data) > limit:
            raise TooLarge(f"{path} in the container is larger than {limit} bytes.")
        return data.decode("utf-8", "surrogateescape")

    def open(self, path: str) -> t.BinaryIO | None:
        """Open a regular file, or return None if it does not exist. Never block. Raises OSError, and LongshoreError for anything
        else."""
        found = self._open(path)
        if found is None:
            return None
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                raise LongshoreError(f"{path} in the container is not a regular file.")
            kind = self._kind(found)
            if kind in _KERNEL:
                raise LongshoreError(f"{path} in the container is a file of the kernel ({kind}), and is not read.")
            # A file with a lease (fcntl(2)) would block.
            return os.fdopen(os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        finally:
            os.close(found)

    def exists(self, pattern: str) -> bool:
        """Tell whether a path exists, also as a broken link, or whether one matches the pattern (``*``, ``?`` and ``[]``)."""
        from .._trust.tree_search import search

        try:
            return search(self._open, pattern)
        except OSError as exc:
            raise _unseen(pattern, exc) from exc

    def _open(self, path: str) -> int | None:
        """Return a descriptor (O_PATH) of a path, or None if it does not exist."""
        todo, links = path.split("/")[::-1], 0
        stack: list[int] = []
        try:
            stack.append(os.open(self._top, os.O_PATH | os.O_CLOEXEC))
            self._check(stack[-1], path)
            while todo:
                name = todo.pop()
                if name == "..":
                    # The parent from the walk, never above the root. The container could move the directory and change the kernel's "..".
                    os.close(stack.pop()) if len(stack) > 1 else None
                elif name not in ("", "."):
                    stack.append(os.open(name, _HOLDING, dir_fd=stack[-1]))
                    self._check(stack[-1], path)
                    if stat.S_ISLNK(os.fstat(stack[-1]).st_mode):
                        links += 1
                        target = os.readlink("", dir_fd=stack[-1])
                        _close(stack, keep=1 if target.startswith("/") else len(stack) - 1)
                        todo += target.split("/")[::-1]
                        if links > _MOST_LINKS:
                            return None
            return os.dup(stack[-1])
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            _close(stack, keep=0)

    def _check(self, descriptor: int, path: str) -> None:
        """Refuse a file system that may never answer, such as one of the network, unless it is the root. Use the mount table, because
        even fstat(2) could block."""
        kind = self._kind(descriptor)
        device = self._mounts[mount_of(descriptor)][1]
        self._root = self._root or device
        if kind in _MEMORY | _DISKS | _KERNEL:
            return
        if device not in _devices() or (mountinfo.is_remote(kind) and device != self._root):
            raise LongshoreError(
                f"{path} in the container is on a file system of its own ({kind or 'unknown'}), and is not read."
            )

    def _kind(self, descriptor: int) -> str:
        number = mount_of(descriptor)
        if number not in self._mounts:
            own = f"{os.path.dirname(self._top)}/mountinfo"
            mounts = mountinfo.read(own if os.path.exists(own) else mountinfo.SELF)
            self._mounts = {mount.id: (mount.kind, mount.device) for mount in mounts}
            self._mounts.setdefault(number, ("", ""))  # unmounted in the meantime
        return self._mounts[number][0]


def _devices() -> set[str]:
    return {mount.device for mount in mountinfo.read()}


def _close(stack: list[int], *, keep: int) -> None:
    while len(stack) > keep:
        os.close(stack.pop())


def _unseen(path: str, exc: OSError) -> LongshoreError:
    reason = "a process has a lease on it" if exc.errno == errno.EAGAIN else t.cast(str, exc.strerror)
    return LongshoreError(f"Cannot read {path} in the container: {reason}.")
