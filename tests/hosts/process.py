# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""A process by its number and its start time, so that a number used again is not mistaken for it."""

from __future__ import annotations

import dataclasses
import os
import select
import signal

from .deadline import Deadline, TimedOut


def _start_time(pid: int) -> int | None:
    """In clock ticks since the machine's boot; None for a process that is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            # The name, in parentheses, may hold blanks and parentheses itself.
            fields = stream.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@dataclasses.dataclass(frozen=True)
class ProcessId:
    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        start_time = _start_time(pid)
        return None if start_time is None else cls(pid=pid, start_time=start_time)

    def is_alive(self) -> bool:
        return _start_time(self.pid) == self.start_time

    def terminate(self, *, deadline: Deadline, what: str) -> bool:
        """Send SIGTERM and wait for the end. False when it is still there at the deadline."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:  # raced with its exit: that is what we wanted
            return True
        try:
            if not self.is_alive():  # looked at after the pidfd was opened: now they are the same one
                return True
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(deadline.remaining(what) * 1000))
        except ProcessLookupError:
            return True
        except TimedOut:
            return False
        finally:
            os.close(descriptor)


__all__ = ("ProcessId",)
