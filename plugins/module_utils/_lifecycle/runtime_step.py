# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the runtime do a step that a killed task may have begun."""

from __future__ import annotations

from .._base.errors import ProgramFailed
from .._base.process import is_alive
from .._container.observe import live_status
from .._runtime.runtime import Runtime
from .._state.model import Record, Status


def call_unless_done(runtime: Runtime, verb: str, record: Record, result: Status) -> None:
    """Start, pause or resume. The runtime of a killed task may do the same at this very moment, so a failure counts only where
    the container does not have the status ``result``."""
    try:
        runtime.call(verb)
    except ProgramFailed:
        if not is_alive(record.init) or live_status(record) is not result:
            raise
