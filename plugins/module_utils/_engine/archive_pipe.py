# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that go through a named pipe, from one host to the next, while they are written: they touch no disk on the way.

Both ends wait no longer than their deadline for the other, at the beginning and in between.
"""

from __future__ import annotations

import io
import os
import select
import stat
import typing as t

from .errors import DeadlineExceeded, InvalidInput
from .waiting import Deadline


def is_pipe(path: str | None) -> bool:
    try:
        return path is not None and stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


class _Pipe(io.RawIOBase):
    def __init__(self, path: str, flags: int, deadline: Deadline) -> None:
        self._path, self._deadline = path, deadline
        self._fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)

    def _wait(self, event: int) -> None:
        poller = select.poll()
        poller.register(self._fd, event)
        if not poller.poll(self._deadline.milliseconds()):
            raise DeadlineExceeded(f"The other end of the pipe {self._path} did not do its part in time.")

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        self._wait(select.POLLIN)
        return os.readv(self._fd, [buffer])

    def write(self, data: t.Any) -> int:
        self._wait(select.POLLOUT)
        return os.write(self._fd, data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
            super().close()


def reader(path: str, deadline: Deadline) -> t.BinaryIO:
    """A pipe without a writer says nothing until one has been there."""
    return t.cast(t.BinaryIO, io.BufferedReader(_Pipe(path, os.O_RDONLY, deadline), 1 << 20))


def writer(path: str, deadline: Deadline) -> t.BinaryIO:
    """Raises InvalidInput where nobody reads the pipe."""
    try:
        return t.cast(t.BinaryIO, io.BufferedWriter(_Pipe(path, os.O_WRONLY, deadline), 1 << 20))
    except OSError as exc:
        raise InvalidInput(f"Nobody reads the pipe {path}.", hint="Start its reader first.") from exc
