# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the actions that bring a container from its observed to its desired state. Pure: nothing is read or changed.

The tables contain the names of the actions. ``replace`` creates the container again from its bundle: an OCI container
runs once, so a container that has ended, or that a killed task was stopping, cannot be started again.
"""

from __future__ import annotations

import typing as t

from .._base.errors import WrongState
from .._state.model import Action, Definition, Desired, Goal, Observed, Plan, Recreate, Status
from .._state.phase import Phase

Differences = t.Mapping[str, tuple[t.Any, t.Any]]

_REPLACE = "replace"
_HAS_RUN = (Status.RUNNING, Status.PAUSED)
# The container exists, and no new definition replaces it. Without an entry, no action is needed.
_AS_IT_IS: dict[Goal, dict[Status, str]] = {
    Goal.PRESENT: {},
    Goal.STARTED: {
        Status.CREATED: "start", Status.PAUSED: "resume", Status.STOPPED: _REPLACE, Status.CHECKPOINTED: "restore",
    },
    Goal.STOPPED: {Status.RUNNING: "stop", Status.PAUSED: "stop"},
    Goal.RESTARTED: {status: "start" if status is Status.CREATED else _REPLACE for status in Status},
    Goal.PAUSED: {
        Status.CREATED: "start pause", Status.RUNNING: "pause", Status.STOPPED: _REPLACE, Status.CHECKPOINTED: "restore pause",
    },
    Goal.ABSENT: {status: "stop remove" if status in (*_HAS_RUN, Status.UNKNOWN) else "remove" for status in Status},
}  # fmt: skip
# A killed task was stopping the container, or another task is stopping it.
_STOPPING = {
    Goal.PRESENT: "stop", Goal.STARTED: _REPLACE, Goal.STOPPED: "stop", Goal.RESTARTED: _REPLACE, Goal.PAUSED: _REPLACE,
}  # fmt: skip
# A killed task was waiting for the container to report readiness. No process waits for that now, except systemd for a
# service.
_UNREADY = {Goal.STARTED: _REPLACE, Goal.PAUSED: _REPLACE}
# The actions after a create. With the goal PRESENT, the container returns to its former state.
_AFTER_CREATE = {Goal.STARTED: "start", Goal.STOPPED: "", Goal.RESTARTED: "start", Goal.PAUSED: "start pause"}
_AS_BEFORE = {Status.RUNNING: "start", Status.PAUSED: "start pause"}


def plan(
    desired: Desired, observed: Observed, *, changes: Differences, updates: Differences, older: t.Sequence[str] = ()
) -> Plan:
    """Return the actions. ``changes`` are the differences that need a new container, ``updates`` those that do not, and ``older``
    are the parts of the config for which the host has something else by now.

    Raises WrongState if a container must be created and its bundle is unknown, or if its state is unknown.
    """
    if observed.unfinished:
        # Recovery comes first. The task plans again after it, so the other actions are a prediction.
        then = plan(desired, observed._replace(unfinished=False), changes=changes, updates=updates, older=older)
        return then._replace(actions=(Action.RECOVER, *then.actions))
    if desired.goal is Goal.ABSENT and observed.status is Status.ABSENT and not observed.leftovers:
        return Plan((), Status.ABSENT)
    if observed.status is Status.UNKNOWN and desired.goal is not Goal.ABSENT:
        raise WrongState(observed.problem, hint="state=absent removes it nonetheless.")
    steps = _steps(desired, observed, changed=bool(changes))
    if desired.goal is Goal.ABSENT:
        return Plan(steps, Status.ABSENT)
    kept = bool(changes) and desired.recreate is Recreate.NEVER and observed.status is not Status.ABSENT
    creates = Action.CREATE in steps
    definition = _definition(desired, observed, kept=kept) if creates else None
    if not creates and updates:
        steps = (Action.UPDATE, *steps)
    if Action.RESTORE in steps:
        definition = observed.existing.definition._replace(runtime=observed.existing.runtime.path)
        steps = (Action.REMOVE, *steps) if observed.leftovers else steps
    shown = {**({} if kept else changes), **({} if creates else updates)}
    stays = not creates and Action.STOP not in steps
    warnings: tuple[str, ...] = ()
    unmonitored = observed.status in _HAS_RUN and not observed.monitored
    if kept or ((observed.disconnected or unmonitored or older) and stays):
        from .plan_warnings import plan_warnings

        warnings = plan_warnings(observed, changes if kept else {}, stays=stays, older=older)
    return Plan(steps, _result(steps, observed.status), definition, shown, warnings)


def _steps(desired: Desired, observed: Observed, *, changed: bool) -> tuple[Action, ...]:
    goal, status = desired.goal, observed.status
    words = _words(desired, observed)
    differs = desired.recreate is Recreate.ALWAYS or (changed and desired.recreate is Recreate.CHANGED)
    if goal is not Goal.ABSENT and (differs or status is Status.ABSENT):
        words = _REPLACE
    if words == _REPLACE:
        stop = "stop" if status in _HAS_RUN else ""
        remove = "remove" if status is not Status.ABSENT or observed.leftovers else ""
        words = f"{stop} {remove} create {_AFTER_CREATE.get(goal, _AS_BEFORE.get(status, ''))}"
    return tuple(map(Action, words.split()))


def _words(desired: Desired, observed: Observed) -> str:
    """Return the entry of the tables: names of actions, separated by blanks, or ``replace``; empty if none is due."""
    goal, status, record = desired.goal, observed.status, observed.record
    phase = record.phase if record and status in _HAS_RUN else None
    # A frozen container that was killed has not ended yet.
    stopping = phase is Phase.STOPPING or (status is Status.STOPPED and observed.leftovers)
    unready = observed.unready and status in _HAS_RUN
    afresh = status is Status.CHECKPOINTED and not desired.restore
    if stopping and goal in _STOPPING:
        return _STOPPING[goal]
    if (unready or afresh) and goal in _UNREADY:
        return _UNREADY[goal]
    return _AS_IT_IS[goal].get(status, "")


def _definition(desired: Desired, observed: Observed, *, kept: bool) -> Definition:
    recorded = observed.record.definition if observed.record else None
    definition = recorded if kept or desired.definition is None else desired.definition
    if definition is None:
        message = f"The container {desired.name} does not exist and there is no bundle to create it from."
        raise WrongState(message, hint="Set the option bundle.")
    return definition


def _result(actions: t.Sequence[Action], status: Status) -> Status:
    leads_to = {
        Action.STOP: Status.STOPPED, Action.REMOVE: Status.ABSENT, Action.CREATE: Status.CREATED,
        Action.START: Status.RUNNING, Action.RESUME: Status.RUNNING, Action.PAUSE: Status.PAUSED,
        Action.RESTORE: Status.RUNNING,
    }  # fmt: skip
    for action in actions:
        status = leads_to.get(action, status)
    return status
