# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A frozen container that has been killed and cannot end before it goes on."""

from __future__ import annotations

import signal

from .._base.files import read_text
from .._base.process import ProcessId
from .._state.model import Exit, Observed, Status

_KILL = 1 << (signal.SIGKILL - 1)  # in a mask of signals


def look(paused: Observed) -> Observed:
    """Return a paused container as it is: stopped, where it has been killed. Its processes are still there, as leftovers."""
    end = _held_back(paused.record.init if paused.record else None)
    return Observed(paused.name, Status.STOPPED, paused.record, exit=end, leftovers=True) if end else paused


def _held_back(init: ProcessId | None) -> Exit | None:
    """Return how a frozen process will end as soon as it goes on, or None. The freezer of v1 holds a deadly signal back; to the
    kernel, each is SIGKILL for all threads by then (SigPnd), and ShdPnd has what was sent (proc(5))."""
    text = (init and read_text(f"/proc/{init.pid}/status")) or ""
    own, shared = (int(text.partition(f"{name}:\t")[2][:16] or "0", 16) for name in ("SigPnd", "ShdPnd"))
    if not (own | shared) & _KILL:
        return None
    number = int(signal.SIGKILL) if shared & _KILL or not shared else (shared & -shared).bit_length()
    return Exit(128 + number, "killed", None, False)
