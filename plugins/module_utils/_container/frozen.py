# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect a frozen container that was killed and cannot end before it is thawed."""

from __future__ import annotations

import signal

from .._base.files import read_text
from .._base.process import ProcessId
from .._state.model import Exit, Observed, Status

_KILL = 1 << (signal.SIGKILL - 1)  # in a mask of signals


def look(paused: Observed) -> Observed:
    """Return the state of a paused container: stopped if it was killed. Its processes still exist, as leftovers."""
    end = _held_back(paused.record.init if paused.record else None)
    return Observed(paused.name, Status.STOPPED, paused.record, exit=end, leftovers=True) if end else paused


def _held_back(init: ProcessId | None) -> Exit | None:
    """Return how a frozen process will end when it is thawed, or None. The v1 freezer delays a fatal signal. In the kernel it is
    then SIGKILL for all threads (SigPnd), and ShdPnd has the original signal (proc(5))."""
    text = (init and read_text(f"/proc/{init.pid}/status")) or ""
    own, shared = (int(text.partition(f"\n{name}:\t")[2][:16] or "0", 16) for name in ("SigPnd", "ShdPnd"))
    if not (own | shared) & _KILL:
        return None
    number = int(signal.SIGKILL) if shared & _KILL or not shared else (shared & -shared).bit_length()
    return Exit(128 + number, "killed", None, False)
