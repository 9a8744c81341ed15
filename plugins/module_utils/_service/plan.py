# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extend a plan for a service with an unfinished job of systemd, which a killed task has started, and with a unit that was
changed by hand. Pure.

systemd continues when a task is killed. So a record says ``starting`` or ``stopping`` before systemd is called. The next task then
joins a running job (the same call waits for it) or replaces it by the opposite one.
"""

from __future__ import annotations

import typing as t

from .._state.model import Action, Desired, Goal, Observed, Plan, Record, Status
from .._state.phase import Phase
from .restorable import check_restorable

if t.TYPE_CHECKING:
    from .unit_state import UnitState


def completed(desired: Desired, observed: Observed, plan: Plan, unit: UnitState | None = None) -> Plan:
    """Return the plan, with the actions that complete the work of an earlier task, and that restore a changed unit."""
    if Action.RESTORE in plan.actions:  # A task of an earlier release was killed in a restore.
        check_restorable(observed, "Recreate it with restore: false, or use oci_checkpoint with new_name.")
    record = observed.record
    # After a recovery, the task decides again.
    settled = Action.CREATE in plan.actions or Action.RECOVER in plan.actions
    if record is None or desired.goal is Goal.ABSENT or settled:
        return plan
    actions, result = _unfinished(desired.goal, observed.status, record), plan.result
    changes = dict(unit.differences) if unit else {}
    if unit and desired.goal is Goal.STOPPED and observed.status in (Status.CREATED, Status.STOPPED):
        # It was enabled or started by hand, or ends again and again. A stopped service neither runs nor starts at boot.
        kept = {"service.enabled": unit.enabled, "service.active": unit.active}
        stays = {name: (True, False) for name, value in kept.items() if value}
        changes.update(stays)
        actions = (Action.STOP,) if stays else actions
    if actions:
        result = {Action.STOP: Status.STOPPED, Action.PAUSE: Status.PAUSED}.get(actions[-1], Status.RUNNING)
    others = tuple(action for action in plan.actions if action is not Action.UPDATE)
    boots = record.phase in (Phase.STARTING, Phase.RUNNING) and desired.goal is not Goal.STOPPED
    if unit and boots and not unit.enabled and Action.START not in (*actions, *others):
        changes["service.enabled"] = (False, True)
    due = record.unit_pending or Action.UPDATE in plan.actions or (changes and Action.STOP not in actions)
    update = (Action.UPDATE,) if due else ()
    shown = {**plan.differences, **changes}
    return plan._replace(actions=(*update, *(actions or others)), result=result, differences=shown)


def _unfinished(goal: Goal, status: Status, record: Record) -> tuple[Action, ...]:
    if record.phase is Phase.STARTING and status in (Status.CREATED, Status.RUNNING):
        if goal is Goal.STOPPED:
            return (Action.STOP,)
        return (Action.START, Action.PAUSE) if goal is Goal.PAUSED else (Action.START,)
    if record.phase is Phase.RUNNING and status is Status.CREATED and goal is Goal.STOPPED:
        return (Action.STOP,)  # systemd starts it again at this moment, without a task.
    # One that has ended by itself is still to be started at boot, and perhaps in a moment, until it is stopped.
    ended = status is Status.STOPPED and record.phase not in (Phase.STOPPED, Phase.REMOVED)
    return (Action.STOP,) if ended and (goal is Goal.STOPPED or record.phase is Phase.STOPPING) else ()
