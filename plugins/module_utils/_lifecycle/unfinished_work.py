# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete a plan with the work of systemd, which continues without a task. A restore decides without it."""

from __future__ import annotations

from .._host.service_processes import unit_of
from .._state.model import Desired, Observed, Plan


def completed(desired: Desired, observed: Observed, plan: Plan) -> Plan:
    """Return the plan, with the actions for what systemd still does since an earlier task was killed."""
    if observed.record is None or unit_of(observed.record) is None:
        return plan
    from .._service.plan import completed

    return completed(desired, observed, plan)
