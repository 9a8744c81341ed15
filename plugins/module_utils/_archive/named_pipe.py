# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass archives through a named pipe to another host while they are written, without using a disk.

Each end waits for the other only until its deadline, at the beginning and in between.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import typing as t

from .._base.deadline import Deadline
from .._base.errors import DeadlineExceeded, InvalidOption, reason_of
from .._trust import trust


def is_pipe(path: str | None) -> bool:
    try:
        return path is not None and stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def check_pipe(path: str) -> None:
    """Raises InvalidOption for a pipe that another user may use. Do not open it, because that would wake the other end."""
    trust.check(path, "The pipe")
    try:
        _check_kind(os.lstat(path), path)
    except OSError as exc:
        raise InvalidOption(f"The pipe {path} cannot be opened: {reason_of(exc)}.") from exc


def _check_kind(found: os.stat_result, path: str) -> None:
    if not stat.S_ISFIFO(found.st_mode):
        raise InvalidOption(f"{path} is not a pipe itself, but may be a link to one.", hint="Use the path of the pipe.")
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o077:
        raise InvalidOption(
            f"The pipe {path} is open to other users: it belongs to the user {found.st_uid}, with the mode "
            f"{stat.S_IMODE(found.st_mode):04o}.",
            hint="The memory of a container goes through it. Create a private pipe with mkfifo -m 0600.",
        )


class _Pipe(io.RawIOBase):
    def __init__(self, path: str, flags: int, deadline: Deadline) -> None:
        self._path, self._deadline, self._fd = path, deadline, -1
        try:
            self._fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as exc:
            if exc.errno == errno.ENXIO:
                raise InvalidOption(f"The pipe {path} has no reader.", hint="Start its reader first.") from exc
            raise InvalidOption(f"The pipe {path} cannot be opened: {reason_of(exc)}.") from exc
        try:
            _check_kind(os.fstat(self._fd), path)
        except BaseException:
            self.close()
            raise

    def _wait(self, event: int) -> None:
        poller = select.poll()
        poller.register(self._fd, event)
        if not poller.poll(self._deadline.milliseconds()):
            raise DeadlineExceeded(f"The other end of the pipe {self._path} did not respond in time.")

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
    """Return a reader, which waits for the first writer."""
    return t.cast(t.BinaryIO, io.BufferedReader(_Pipe(path, os.O_RDONLY, deadline), 1 << 20))


def writer(path: str, deadline: Deadline) -> t.BinaryIO:
    """Return a writer. Raises InvalidOption if the pipe has no reader."""
    return t.cast(t.BinaryIO, io.BufferedWriter(_Pipe(path, os.O_WRONLY, deadline), 1 << 20))
