# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a container, and of what else tasks must not work on at once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from .deadline import IN_CLOSE, Deadline, wait_until
from .errors import Conflict, EngineError
from .files import make_directory, remove_file

_AGAIN_SECONDS = 1.0
# A lock needs a file, and there is no way to make one.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Lock:
    """An flock on a file of its own, which vanishes with the last user. Not held while a container stops gracefully.

    Where no file can be made (the run directory is full or read-only), the directory of the locks is locked instead, which
    is why every holder of a file shares that. flock has no timeout, so a waiter watches what it waits for: the holder
    closes it in the end, and that is an event.
    """

    def __init__(self, path: str, name: str, what: str = "") -> None:
        self._path = path
        self._what = what or f"the container {name}"
        self._held: tuple[int, ...] = ()  # the file, if there is one, and the directory
        self.abandoned = False  # The last holder was killed: it did not remove the file.

    @property
    def descriptors(self) -> tuple[int, ...]:
        """For a program that outlives this task when it is killed: it has the lock as long as it has these."""
        return self._held

    def acquire(self, deadline: Deadline) -> None:
        """Raises Conflict, with who has it, at the deadline."""
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
        """False where the last holder has removed the file meanwhile: then the lock is on nothing, and a new file counts."""
        there = os.path.lexists(self._path)
        try:
            opened.append(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as exc:
            if exc.errno not in _NO_ROOM:
                raise EngineError(f"Cannot open the lock {self._path}: {exc.strerror}.") from exc
            self._take(opened[0], deadline, fcntl.LOCK_EX)
            return True
        self._take(opened[1], deadline, fcntl.LOCK_EX)
        self.abandoned = there
        return _same_file(self._path, opened[1])

    def _take(self, descriptor: int, deadline: Deadline, how: int) -> None:
        """One descriptor for all attempts: each close is an event for everybody who waits, us included.

        When a holder is killed, the kernel tells of the close an instant before it gives the lock back (__fput). So the lock is asked
        for again after a second, should that have been the last event.
        """
        path = f"/proc/self/fd/{descriptor}"
        taken = _flock(descriptor, how)
        while not taken and deadline.remaining():
            taken = wait_until(
                lambda: _flock(descriptor, how), deadline.at_most(_AGAIN_SECONDS), path=path, mask=IN_CLOSE
            )
        if not taken:
            from .lock_holders import holders

            who = ", ".join(holders(os.readlink(path))) or "another process"
            raise Conflict(f"Waited in vain for {self._what}. At work on it: {who}.")

    def release(self) -> None:
        """Also removes the file: while the lock is held nobody else can have it. Once, also where it is interrupted."""
        held, self._held = self._held, ()
        if len(held) > 1:
            with contextlib.suppress(EngineError):  # It is read-only by now; that is no reason to fail.
                remove_file(self._path)
        for descriptor in held:
            # Before the close: that is what wakes the others, and they are to find the lock free.
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
