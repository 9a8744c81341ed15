# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete a plan with the work of systemd, which continues without a task. A restore decides without it."""

from __future__ import annotations

import typing as t

from .._host.service_processes import unit_of
from .._state.model import Desired, Goal, Observed, Plan
from .._state.store import Store

if t.TYPE_CHECKING:
    from .._service.unit_state import UnitState


def unit_state(store: Store, desired: Desired, observed: Observed) -> UnitState | None:
    """Return the state of the unit of a service. Only files are read."""
    if observed.record is None or unit_of(observed.record) is None or desired.goal is Goal.ABSENT:
        return None
    from .._service.unit_state import look

    return look(store, observed.record)


def completed(desired: Desired, observed: Observed, plan: Plan, unit: UnitState | None = None) -> Plan:
    """Return the plan, with the actions for what systemd still does since an earlier task was killed, and for a ``unit`` that was
    changed by hand. Pure."""
    if observed.record is None or unit_of(observed.record) is None:
        return plan
    from .._service.plan import completed

    return completed(desired, observed, plan, unit)
