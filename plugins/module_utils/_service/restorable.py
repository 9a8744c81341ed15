# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that a service can be restored. Pure."""

from __future__ import annotations

from .._base.errors import WrongState
from .._state.model import Observed, Status


def check_restorable(seen: Observed, hint: str) -> None:
    """Raise WrongState for a service. The script with which systemd starts it always creates the container."""
    if seen.record is not None and seen.record.definition.service and seen.status is not Status.ABSENT:
        raise WrongState(f"The container {seen.name} is a service, and systemd cannot restore a container.", hint=hint)
