# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result as text."""

from __future__ import annotations

import statistics

from .clock import Samples


def facts(pairs: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _value in pairs)
    return "\n".join(f"{name:{width}}  {value}" for name, value in pairs)


def times(samples: Samples) -> str:
    """A block for each step. The ratio is of medians, to the first candidate of the block."""
    steps: dict[str, list[str]] = {}
    for step, candidate in samples:
        steps.setdefault(step, []).append(candidate)
    width = max(len(candidate) for _step, candidate in samples) + 4
    lines = [f"{'milliseconds':{width}}{'median':>8}{'fastest':>9}{'slowest':>9}{'ratio':>8}"]
    for step, candidates in steps.items():
        lines += ["", step]
        first = statistics.median(samples[step, candidates[0]])
        for candidate in candidates:
            found = samples[step, candidate]
            median = statistics.median(found)
            lines.append(
                f"  {candidate:{width - 2}}{median:8.1f}{min(found):9.1f}{max(found):9.1f}{median / first:8.2f}".rstrip()
            )
    return "\n".join(lines)
