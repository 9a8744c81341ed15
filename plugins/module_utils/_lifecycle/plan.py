# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide the actions from the desired and the observed state. Pure: nothing is read, nothing is changed."""

from __future__ import annotations

import typing as t

from .._base.errors import InvalidInput
from .._state.model import Action, Definition, Desired, Goal, Observed, Plan, Record, Recreate, Status

Differences = t.Mapping[str, tuple[t.Any, t.Any]]

_HAS_RUN = (Status.RUNNING, Status.PAUSED)


def plan(desired: Desired, observed: Observed, *, changes: Differences, updates: Differences) -> Plan:
    """Return the plan. ``changes`` are differences that need a new container, ``updates`` those that only change the record.

    Raises InvalidInput if a container must be created and its bundle is unknown.
    """
    if observed.unfinished:
        # After the recovery, the caller decides again.
        then = plan(desired, observed._replace(unfinished=False), changes=changes, updates=updates)
        return then._replace(actions=(Action.RECOVER, *then.actions))
    if desired.goal is Goal.ABSENT:
        return _plan_absent(observed)
    status = observed.status
    phase = observed.record.phase if observed.record and status in _HAS_RUN else ""
    # A container that was killed while frozen has not ended yet.
    stopping = phase == "stopping" or (status is Status.STOPPED and observed.leftovers)
    recorded = observed.record.definition if observed.record else None
    replace = desired.recreate is Recreate.ALWAYS or (desired.recreate is Recreate.CHANGED and bool(changes))
    # In "starting", a container has not reported that it is ready, and no task waits any more. For a service, systemd waits.
    in_between = stopping or (phase == "starting" and not (recorded and recorded.service))
    anew = status is not Status.ABSENT and (replace or _must_be_made_anew(desired, status, in_between=in_between))
    make = anew or status is Status.ABSENT
    kept = desired.recreate is Recreate.NEVER and bool(changes) and status is not Status.ABSENT
    actions: list[Action] = []
    if make:
        definition = recorded if kept or desired.definition is None else desired.definition
        if definition is None:
            raise InvalidInput(
                f"The container {desired.name} does not exist and there is no bundle to create it from.",
                hint="Set the option bundle.",
            )
        if status in _HAS_RUN:
            actions.append(Action.STOP)
        if anew or observed.leftovers:
            actions.append(Action.REMOVE)
        actions.append(Action.CREATE)
        actions += _after_create(desired.goal, status)
    else:
        actions += [Action.UPDATE] if updates else []
        actions += [Action.STOP] if stopping else _in_place(desired.goal, status)
        definition = None
        if Action.RESTORE in actions and observed.record:
            definition = observed.record.definition._replace(runtime=observed.record.runtime.path)
            actions[:0] = [Action.REMOVE] if observed.leftovers else []
    what = f"The definition of {desired.name} differs ({_short(changes)})"
    warnings: tuple[str, ...] = (f"{what}, but recreate=never keeps the container as it is.",) if kept else ()
    if observed.disconnected and not make and Action.STOP not in actions:
        gone = f"The network helper of {desired.name} has ended, so it has no network"
        warnings += (f"{gone}. state=restarted recreates the container, and connects it.",)
    shown = {**({} if kept else changes), **({} if make else updates)}
    return Plan(tuple(actions), _result(actions, status), definition, shown, warnings)


def _plan_absent(observed: Observed) -> Plan:
    if observed.status is Status.ABSENT and not observed.leftovers:
        return Plan((), Status.ABSENT)
    stop = (Action.STOP,) if observed.status in _HAS_RUN else ()
    return Plan((*stop, Action.REMOVE), Status.ABSENT)


def _must_be_made_anew(desired: Desired, status: Status, *, in_between: bool) -> bool:
    """Tell whether the container must be recreated. An OCI container runs only once, so this applies to an ended one, and to one
    that another or a killed task stops or starts."""
    if desired.goal is Goal.RESTARTED:
        return status is not Status.CREATED
    ended = status is Status.STOPPED or (status is Status.CHECKPOINTED and not desired.restore)
    return desired.goal in (Goal.STARTED, Goal.PAUSED) and (ended or in_between)


def _after_create(goal: Goal, before: Status) -> list[Action]:
    """Return the actions after a create. With the goal PRESENT, a replaced container returns to its former state."""
    if goal is Goal.PRESENT:
        return {Status.RUNNING: [Action.START], Status.PAUSED: [Action.START, Action.PAUSE]}.get(before, [])
    return {Goal.STOPPED: [], Goal.PAUSED: [Action.START, Action.PAUSE]}.get(goal, [Action.START])


def _in_place(goal: Goal, status: Status) -> list[Action]:
    table = {
        (Goal.STARTED, Status.CREATED): [Action.START],
        (Goal.STARTED, Status.PAUSED): [Action.RESUME],
        (Goal.STARTED, Status.CHECKPOINTED): [Action.RESTORE],
        (Goal.PAUSED, Status.CHECKPOINTED): [Action.RESTORE, Action.PAUSE],
        (Goal.RESTARTED, Status.CREATED): [Action.START],
        (Goal.PAUSED, Status.CREATED): [Action.START, Action.PAUSE],
        (Goal.PAUSED, Status.RUNNING): [Action.PAUSE],
        (Goal.STOPPED, Status.RUNNING): [Action.STOP],
        (Goal.STOPPED, Status.PAUSED): [Action.STOP],
    }
    return table.get((goal, status), [])


def _result(actions: t.Sequence[Action], status: Status) -> Status:
    leads_to = {
        Action.STOP: Status.STOPPED, Action.REMOVE: Status.ABSENT, Action.CREATE: Status.CREATED,
        Action.START: Status.RUNNING, Action.RESUME: Status.RUNNING, Action.PAUSE: Status.PAUSED,
        Action.RESTORE: Status.RUNNING,
    }  # fmt: skip
    for action in actions:
        status = leads_to.get(action, status)
    return status


def _short(changes: Differences) -> str:
    names = sorted(changes)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def definition_changes(definition: Definition, record: Record) -> dict[str, tuple[t.Any, t.Any]]:
    """Return the launch options that differ from the record's.

    ``auto`` (or no value) for a program or manager matches the recorded one, and so does its exact name.
    """
    taken = {
        "runtime": ("auto", record.runtime.name, record.runtime.path),
        "conmon": (None, record.conmon.path),
        "cgroup_manager": ("auto", record.cgroup_manager),
        "runtime_root": (record.runtime_root,),
        "log_path": (record.log_path,),
    }
    changes = {}
    for name, new in definition._asdict().items():
        old = getattr(record.definition, name)
        if old != new and new not in taken.get(name, ()):
            hidden = name == "conmon_env"
            changes[f"launch.{name}"] = ("(hidden)", "(hidden, new)") if hidden else (_plain(old), _plain(new))
    return changes


def _plain(value: t.Any) -> t.Any:
    return list(value) if isinstance(value, tuple) else value
