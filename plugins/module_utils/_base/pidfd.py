# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send signals to exactly one process, and wait for its end."""

from __future__ import annotations

import contextlib
import os
import signal
import typing as t

from .deadline import Deadline, wait_readable
from .process import ProcessId, is_alive


class PidFd:
    """A pidfd of exactly one process, as a context manager. ``fd`` is None if the process has ended."""

    def __init__(self, process: ProcessId | None) -> None:
        self.fd: int | None = None
        if process is None:
            return
        try:
            self.fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        # Only an open pidfd fixes the process. Verify now that it is the right one.
        if not is_alive(process):
            self.close()

    def send(self, number: int) -> None:
        if self.fd is not None:
            with contextlib.suppress(ProcessLookupError):  # It has ended, which is what the signal is for.
                signal.pidfd_send_signal(self.fd, number)

    def wait(self, deadline: Deadline) -> bool:
        """Return True when the process has ended (also as a zombie), False after the deadline."""
        return self.fd is None or bool(wait_readable([self.fd], deadline))

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def __enter__(self) -> PidFd:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def kill_and_wait(
    processes: t.Iterable[ProcessId], deadline: Deadline, number: int = signal.SIGKILL, *,
    before_waiting: t.Callable[[], None] = lambda: None,
) -> list[ProcessId]:  # fmt: skip
    """Send SIGKILL, or another signal. Return the processes that still run at the deadline."""
    pidfds = [(process, PidFd(process)) for process in processes]
    try:
        for _process, pidfd in pidfds:
            pidfd.send(number)
        before_waiting()
        return [process for process, pidfd in pidfds if not pidfd.wait(deadline)]
    finally:
        for _process, pidfd in pidfds:
            pidfd.close()
