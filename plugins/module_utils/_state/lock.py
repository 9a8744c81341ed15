# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock a container, or another object on which only one task at a time may work."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from .._base.deadline import Deadline
from .._base.errors import Conflict, LongshoreError
from .._base.files import make_directory, remove_file

_AGAIN_SECONDS = 1.0
# Errors of a run directory in which no file for the lock can be created.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Lock:
    """An flock on its own file, which the last user removes. Not held while a container stops gracefully.

    If the file cannot be created (the run directory is full or read-only), the lock is an exclusive flock on the
    directory of the locks. For this reason, every holder of a file has a shared flock on the directory. flock has no
    timeout, so a waiter watches the file: the holder closes it in the end, and that is an event.
    """

    def __init__(self, path: str, name: str, what: str = "") -> None:
        self._path = path
        self._what = what or f"the container {name}"
        self._held: tuple[int, ...] = ()  # the file, if there is one, and the directory
        self.abandoned = False  # The last holder was killed before it removed the file.

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptors for a program that may outlive this task. It keeps the lock as long as they are open."""
        return self._held

    def acquire(self, deadline: Deadline) -> None:
        """Take the lock. Raises Conflict, which names the holders, at the deadline."""
        if self._held:
            return
        top = os.path.dirname(self._path)
        make_directory(top)
        opened = [os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
        try:
            self._take(opened[0], deadline, fcntl.LOCK_SH)
            while not self._take_file(opened, deadline):
                os.close(opened.pop())
            self._held, opened = tuple(reversed(opened)), []
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _take_file(self, opened: list[int], deadline: Deadline) -> bool:
        """Return False if the last holder has removed the file in the meantime: then only a lock on a new file counts."""
        there = os.path.lexists(self._path)
        try:
            opened.append(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as exc:
            if exc.errno not in _NO_ROOM:
                raise LongshoreError(f"Cannot open the lock {self._path}: {exc.strerror}.") from exc
            self._take(opened[0], deadline, fcntl.LOCK_EX)
            return True
        self._take(opened[1], deadline, fcntl.LOCK_EX)
        self.abandoned = there
        return _same_file(self._path, opened[1])

    def _take(self, descriptor: int, deadline: Deadline, how: int) -> None:
        """Use one descriptor for all attempts, because each close is an event for all waiters, including this one.

        When a holder is killed, the kernel reports the close shortly before it releases the lock (__fput). This may be
        the last event, so try again after a second.
        """
        path = f"/proc/self/fd/{descriptor}"
        taken = _flock(descriptor, how)
        while not taken and deadline.remaining():
            from .._base import inotify

            step = deadline.at_most(_AGAIN_SECONDS)
            taken = inotify.wait_until(lambda: _flock(descriptor, how), step, path=path, mask=inotify.IN_CLOSE)
        if not taken:
            from .lock_holders import holders

            who = ", ".join(holders(os.readlink(path))) or "another process"
            raise Conflict(f"Timed out while waiting for {self._what}. In use by: {who}.")

    def release(self) -> None:
        """Release the lock and remove its file, which no other task can hold. Do so only once, also after an interruption."""
        held, self._held = self._held, ()
        if len(held) > 1:
            with contextlib.suppress(LongshoreError):  # The file system is read-only now, which must not fail the task.
                remove_file(self._path)
        for descriptor in held:
            # Unlock before the close, because the close wakes the waiters, and they must find the lock free.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _flock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _same_file(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
