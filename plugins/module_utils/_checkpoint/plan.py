# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide the actions to create, restore or delete a checkpoint. Pure: nothing is read or changed."""

from __future__ import annotations

import enum
import typing as t

from .._base.errors import WrongState
from .._service.restorable import check_restorable
from .._state.model import Observed, Status
from .._state.phase import Phase


class Goal(str, enum.Enum):
    """The states that a task can request."""

    CHECKPOINTED = "checkpointed"
    RESTORED = "restored"
    ABSENT = "absent"


class Action(str, enum.Enum):
    """The steps of a plan, with their names in the result."""

    RECOVER = "recover"  # cleans up after a killed task
    CHECKPOINT = "checkpoint"
    EXPORT = "export"
    REMOVE = "remove"  # the rest of the former container
    IMPORT = "import"
    RESTORE = "restore"
    DELETE = "delete"  # the stored checkpoint


class Found(t.NamedTuple):
    """The observed state. ``target`` is the container to restore, the same as ``source`` unless it gets a new name."""

    source: Observed
    target: Observed
    stored: bool
    archive: bool | None  # whether it exists; None if none is requested


class Plan(t.NamedTuple):
    actions: tuple[Action, ...]
    result: Status  # of the target


_LIVE = (Status.RUNNING, Status.PAUSED)


def plan(goal: Goal, found: Found, *, leave_running: bool, keep: bool) -> Plan:
    """Return the plan. Raises WrongState if there is nothing to checkpoint or to restore.

    After a recovery, the caller decides again.
    """
    if found.source.unfinished or found.target.unfinished:
        clear = found._replace(
            source=found.source._replace(unfinished=False), target=found.target._replace(unfinished=False)
        )
        # It is not known yet whether the dump is complete.
        whole = found.stored or found.source.status is Status.CHECKPOINTED
        then = plan(goal, clear._replace(stored=whole), leave_running=leave_running, keep=keep)
        return then._replace(actions=(Action.RECOVER, *then.actions))
    for seen in (found.source, found.target):
        if seen.status is Status.UNKNOWN and goal is not Goal.ABSENT:
            raise WrongState(seen.problem)
    if goal is Goal.CHECKPOINTED:
        return _checkpoint(found, leave_running=leave_running)
    if goal is Goal.RESTORED:
        return _restore(found, keep=keep)
    status = found.source.status
    gone = Status.STOPPED if status is Status.CHECKPOINTED else status
    return Plan((Action.DELETE,), gone) if found.stored or status is Status.CHECKPOINTED else Plan((), status)


def _checkpoint(found: Found, *, leave_running: bool) -> Plan:
    status = found.source.status
    export = [] if found.archive is None else [Action.EXPORT]
    if status is Status.CHECKPOINTED and not found.stored:
        hint = "Use state: absent. Then the container is a stopped one, which can be started again."
        raise WrongState(f"The checkpoint of the container {found.source.name} is not there any more.", hint=hint)
    if status is Status.CHECKPOINTED:
        return Plan((*([] if found.archive else export),), status)
    if status not in _LIVE:
        what = {Status.ABSENT: "does not exist", Status.CREATED: "has not been started"}.get(status, "does not run")
        what = f"has ended{found.source.exit.words()}" if found.source.exit else what
        hint = "Only a running or paused container can be checkpointed."
        raise WrongState(f"The container {found.source.name} cannot be checkpointed: it {what}.", hint=hint)
    if not leave_running:
        check_restorable(found.source, "Use leave_running: true, and restore it under another name.")
    return Plan((Action.CHECKPOINT, *export), status if leave_running else Status.CHECKPOINTED)


def _restore(found: Found, *, keep: bool) -> Plan:
    target = found.target
    if target.status in _LIVE:
        return Plan((), target.status)
    if found.archive is None and not found.stored:
        hint = "Create one with state: checkpointed, or set archive."
        raise WrongState(f"There is no checkpoint of the container {found.source.name}.", hint=hint)
    if found.archive is False:
        raise WrongState(f"There is no archive to restore {target.name} from.", hint="Check its path.")
    check_restorable(
        target,
        "Use new_name with another bundle: the restored container is not a service. Or remove the service first.",
    )
    idle = target.status is Status.CHECKPOINTED or (target.record is not None and target.record.phase is Phase.REMOVED)
    in_the_way = target.leftovers or (target.status is not Status.ABSENT and not idle)
    actions = [Action.REMOVE] if in_the_way else []
    # A checkpoint in an archive, or of another container, is copied and never deleted.
    foreign = bool(found.archive) or found.source.name != target.name
    actions += [Action.IMPORT] if foreign else []
    actions.append(Action.RESTORE)
    if not foreign and not keep:
        actions.append(Action.DELETE)
    return Plan(tuple(actions), Status.RUNNING)
