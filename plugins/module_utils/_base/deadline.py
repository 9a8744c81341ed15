# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait with one deadline on the monotonic clock, and for events instead of sleeping."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import time
import typing as t

from .errors import LongshoreError

IN_CLOSE = 0x08 | 0x10  # IN_CLOSE_WRITE | IN_CLOSE_NOWRITE
IN_MOVED_TO = 0x80


class Deadline:
    """A point in time, ``seconds`` from now on the monotonic clock. Several steps share it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the remaining seconds, never a negative number."""
        return max(0.0, self._end - time.monotonic())

    def milliseconds(self) -> int:
        """Return the remaining time for poll(), at most 24 days. It is rounded up: with 0.4 ms left, poll(0) would spin."""
        return int(min(self.remaining(), 2_000_000) * 1000) + 1

    def at_most(self, seconds: float) -> Deadline:
        """Return a deadline for one step: this one, or ``seconds`` from now if that is earlier."""
        return Deadline(min(self.remaining(), seconds))


def wait_readable(descriptors: t.Iterable[int], deadline: Deadline) -> set[int]:
    """Return the readable descriptors, or an empty set after the deadline.

    poll() rather than select(), which breaks in a program with more than 1024 open files.
    """
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _event in poller.poll(deadline.milliseconds())}


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
