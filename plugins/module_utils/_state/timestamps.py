# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write points in time as text."""

from __future__ import annotations

import time


def timestamp(seconds: float | None = None) -> str:
    """RFC 3339 in UTC with microseconds, the form in which crun writes its own."""
    moment = time.time() if seconds is None else seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1_000_000):06d}Z"
