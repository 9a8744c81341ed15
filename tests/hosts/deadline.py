# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""A point in time that a wait must not outlive."""

from __future__ import annotations

import dataclasses
import time

from .command import HostsError


class TimedOut(HostsError):
    def __init__(self, what: str) -> None:
        super().__init__(f"timed out waiting for {what}")


@dataclasses.dataclass(frozen=True)
class Deadline:
    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(at=time.monotonic() + seconds)

    def remaining(self, what: str) -> float:
        """The seconds left to wait for `what`; raises when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimedOut(what)
        return left


__all__ = ("Deadline", "TimedOut")
