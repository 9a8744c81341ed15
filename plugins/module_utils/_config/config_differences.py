# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare two configs. Pure."""

from __future__ import annotations

import typing as t

from .._state.model import SECRETS
from .config import flatten

# The annotation that tells what the task of a bundle asked for. Two configs with the same value differ only in facts of the host.
ASKED = "longshore.oci.asked"


def differences(before: t.Any, after: t.Any) -> dict[str, tuple[t.Any, t.Any]]:
    """Return JSON paths with (old, new), None for a missing value. Values of environments are hidden."""
    old, new = flatten(before), flatten(after)
    found = {}
    for path in sorted(old.keys() | new.keys()):
        pair = (old.get(path), new.get(path))
        # True == 1 in Python, but not in JSON.
        if pair[0] != pair[1] or type(pair[0]) is not type(pair[1]):
            found[path] = _hide(pair) if any(f".{name}." in path for name in ("env", *SECRETS)) else pair
    return found


def _hide(pair: tuple[t.Any, t.Any]) -> tuple[t.Any, t.Any]:
    old, new = pair
    changed = "(hidden)" if old is None else "(hidden, new)"
    return None if old is None else "(hidden)", None if new is None else changed
