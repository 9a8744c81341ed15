# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for changes of files."""

from __future__ import annotations

import contextlib
import ctypes
import os
import typing as t

from .deadline import Deadline, wait_readable
from .errors import LongshoreError

IN_CLOSE = 0x08 | 0x10  # IN_CLOSE_WRITE | IN_CLOSE_NOWRITE
IN_MOVED_TO = 0x80


class Watch:
    """An inotify watch on one file or directory, as a context manager. ``fd`` is readable after an event."""

    def __init__(self, path: str, mask: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(path), mask) < 0:
            reason = os.strerror(ctypes.get_errno())
            self.close()
            raise LongshoreError(f"Cannot watch {path}: {reason}.", hint="Raise fs.inotify.max_user_instances.")

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
    call ``check()`` one last time. The watch starts before the first check, so no event is lost.
    """
    with Watch(path, mask) as watch:
        while not check():
            ready = wait_readable([watch.fd, *until], deadline)
            watch.clear()
            if not ready or ready & set(until):
                return check()
        return True
