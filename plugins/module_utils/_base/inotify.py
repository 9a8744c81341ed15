# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for changes of files."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import typing as t

from .deadline import Deadline, wait_readable
from .errors import LongshoreError

IN_CLOSE = 0x08 | 0x10  # IN_CLOSE_WRITE | IN_CLOSE_NOWRITE
IN_MOVED_TO = 0x80
_POLL_SECONDS = 0.05


class NoneLeft(LongshoreError):
    """This user, or this process, has as many watches as it may have."""


class Watch:
    """An inotify watch on one file or directory, as a context manager. ``fd`` is readable after an event."""

    def __init__(self, path: str, mask: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(path), mask) < 0:
            number = ctypes.get_errno()
            self.close()
            kind = NoneLeft if number in (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM) else LongshoreError
            raise kind(f"Cannot watch {path}: {os.strerror(number)}.", hint="Raise fs.inotify.max_user_instances.")

    def clear(self) -> None:
        """Discard the events so far."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 65536)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def wait_until(
    check: t.Callable[[], bool], deadline: Deadline, *, path: str, mask: int, until: t.Sequence[int] = ()
) -> bool:
    """Wait until ``check()`` is true, and call it after each event at ``path``.

    Stop early when one of the descriptors ``until`` becomes readable, because the process in question has ended. Then
    call ``check()`` one last time. The watch starts before the first check, so no event is lost. If no watch is left, call
    ``check()`` every 50 ms.
    """
    try:
        watched = Watch(path, mask)
    except NoneLeft:
        while not check():
            if wait_readable(until, deadline.at_most(_POLL_SECONDS)) or not deadline.remaining():
                return check()
        return True
    with watched as watch:
        while not check():
            ready = wait_readable([watch.fd, *until], deadline)
            watch.clear()
            if not ready or ready & set(until):
                return check()
        return True
