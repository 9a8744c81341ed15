# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times of steps, by what is done and who does it."""

from __future__ import annotations

import contextlib
import statistics
import time
import typing as t

Samples = dict[tuple[str, str], list[float]]  # milliseconds by (step, candidate)


class Lap:
    """``with lap(step, candidate):`` adds one time."""

    def __init__(self) -> None:
        self.samples: Samples = {}

    @contextlib.contextmanager
    def __call__(self, step: str, candidate: str) -> t.Iterator[None]:
        began = time.perf_counter()
        yield
        self.add(step, candidate, (time.perf_counter() - began) * 1000)

    def add(self, step: str, candidate: str, milliseconds: float) -> None:
        self.samples.setdefault((step, candidate), []).append(milliseconds)

    def median(self, step: str, candidate: str) -> float | None:
        found = self.samples.get((step, candidate))
        return statistics.median(found) if found else None
