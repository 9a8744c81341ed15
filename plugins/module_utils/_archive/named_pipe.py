# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that go through a named pipe, from one host to the next, while they are written: they touch no disk on the way.

Both ends wait no longer than their deadline for the other, at the beginning and in between.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import typing as t

from .._base.deadline import Deadline
from .._base.errors import DeadlineExceeded, InvalidInput, reason_of
from .._trust import trust


def is_pipe(path: str | None) -> bool:
    try:
        return path is not None and stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def check_pipe(path: str) -> None:
    """Raises InvalidInput for a pipe that another user may be at the other end of. Nothing is opened: that would wake it."""
    trust.check(path, "The pipe")
    try:
        _check_kind(os.lstat(path), path)
    except OSError as exc:
        raise InvalidInput(f"The pipe {path} cannot be opened: {reason_of(exc)}.") from exc


def _check_kind(found: os.stat_result, path: str) -> None:
    if not stat.S_ISFIFO(found.st_mode):
        raise InvalidInput(f"{path} is not a pipe itself, but may lead to one.", hint="Name the pipe.")
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o077:
        raise InvalidInput(
            f"The pipe {path} is open to other users: it belongs to the user {found.st_uid}, with the mode "
            f"{stat.S_IMODE(found.st_mode):04o}.",
            hint="The memory of a container goes through it, so make one of your own with mkfifo -m 0600.",
        )


class _Pipe(io.RawIOBase):
    def __init__(self, path: str, flags: int, deadline: Deadline) -> None:
        self._path, self._deadline, self._fd = path, deadline, -1
        try:
            self._fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as exc:
            if exc.errno == errno.ENXIO:
                raise InvalidInput(f"Nobody reads the pipe {path}.", hint="Start its reader first.") from exc
            raise InvalidInput(f"The pipe {path} cannot be opened: {reason_of(exc)}.") from exc
        try:
            _check_kind(os.fstat(self._fd), path)
        except BaseException:
            self.close()
            raise

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
            if self._fd >= 0:
                os.close(self._fd)
            super().close()


def reader(path: str, deadline: Deadline) -> t.BinaryIO:
    """A pipe without a writer says nothing until one has been there."""
    return t.cast(t.BinaryIO, io.BufferedReader(_Pipe(path, os.O_RDONLY, deadline), 1 << 20))


def writer(path: str, deadline: Deadline) -> t.BinaryIO:
    """Raises InvalidInput where nobody reads the pipe."""
    return t.cast(t.BinaryIO, io.BufferedWriter(_Pipe(path, os.O_WRONLY, deadline), 1 << 20))
