# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait with one deadline on the monotonic clock."""

from __future__ import annotations

import select
import time
import typing as t


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
