# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a container that lives by the word of its runtime, where no file tells."""

from __future__ import annotations

import os

from .._base.errors import LongshoreError
from .._runtime.runtime import Runtime
from .._state.model import Record, Status
from . import cgroup


def status(record: Record) -> tuple[Status, str]:
    """Return the status of a container whose first process lives, and why it is UNKNOWN."""
    try:
        state = Runtime(record, os.devnull).state()
    except LongshoreError as exc:
        return Status.UNKNOWN, exc.message
    if state.status is None:
        said = f"{record.runtime.name} does not tell the state of {record.name}: it says {state.said.rstrip('.')}."
        return Status.UNKNOWN, said
    # Not every freezer is the runtime's.
    frozen = state.status is Status.RUNNING and cgroup.is_frozen(record.cgroup_path)
    return Status.PAUSED if frozen else state.status, ""
