# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The C(diff) of a module's result: before and after by path, sorted, as Ansible shows it for a structured value."""

from __future__ import annotations

import typing as t

Pairs = t.Mapping[str, tuple[t.Any, t.Any]]


def diff(pairs: Pairs) -> dict[str, dict[str, t.Any]]:
    """Return both sides; a side that has no such value (None) leaves it out. Values of environments are hidden in ``pairs`` already."""
    sides = {side: {path: pairs[path][at] for path in sorted(pairs)} for at, side in enumerate(("before", "after"))}
    return {side: {path: value for path, value in found.items() if value is not None} for side, found in sides.items()}
