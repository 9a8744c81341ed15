# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete a plan with the work of an owner that continues without a task. A restore decides without it."""

from __future__ import annotations

from .._state.model import Desired, Observed, Plan


def completed(desired: Desired, observed: Observed, plan: Plan) -> Plan:
    """Return the plan, with what the owner is still at since an earlier task was killed. Only systemd works on by itself."""
    if observed.record is None or not observed.record.definition.service:
        return plan
    from .._service.plan import completed

    return completed(desired, observed, plan)
