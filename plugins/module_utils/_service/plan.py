# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extend a plan for a service with an unfinished job of systemd, which a killed task has started. Pure.

systemd continues when a task is killed. So a record says ``starting`` or ``stopping`` before systemd is called. The next task then
joins a running job (the same call waits for it) or replaces it by the opposite one.
"""

from __future__ import annotations

from .._state.model import Action, Desired, Goal, Observed, Plan, Record, Status
from .._state.phase import Phase
from .restorable import check_restorable


def completed(desired: Desired, observed: Observed, plan: Plan) -> Plan:
    """Return the plan, with the actions that complete the work of an earlier task."""
    if Action.RESTORE in plan.actions:  # A task of an earlier release was killed in a restore.
        check_restorable(observed, "Recreate it with restore: false, or use oci_checkpoint with new_name.")
    record = observed.record
    # After a recovery, the task decides again.
    settled = Action.CREATE in plan.actions or Action.RECOVER in plan.actions
    if record is None or desired.goal is Goal.ABSENT or settled:
        return plan
    actions, result = _unfinished(desired.goal, observed.status, record), plan.result
    if actions:
        result = {Action.STOP: Status.STOPPED, Action.PAUSE: Status.PAUSED}.get(actions[-1], Status.RUNNING)
    update = (Action.UPDATE,) if record.unit_pending or Action.UPDATE in plan.actions else ()
    others = tuple(action for action in plan.actions if action is not Action.UPDATE)
    return plan._replace(actions=(*update, *(actions or others)), result=result)


def _unfinished(goal: Goal, status: Status, record: Record) -> tuple[Action, ...]:
    if record.phase is Phase.STARTING and status in (Status.CREATED, Status.RUNNING):
        if goal is Goal.STOPPED:
            return (Action.STOP,)
        return (Action.START, Action.PAUSE) if goal is Goal.PAUSED else (Action.START,)
    # One that has ended by itself is still to be started at boot, and perhaps in a moment, until it is stopped.
    ended = status is Status.STOPPED and record.phase not in (Phase.STOPPED, Phase.REMOVED)
    return (Action.STOP,) if ended and (goal is Goal.STOPPED or record.phase is Phase.STOPPING) else ()
