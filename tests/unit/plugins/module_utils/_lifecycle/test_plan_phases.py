# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All plans against the transitions of phases: no action may save a phase that cannot follow. Nothing is run."""

from __future__ import annotations

import ast
import glob
import itertools
import os
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import WrongState
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import plan as checkpoint_plan
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import owners
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.plan import plan
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.unfinished_work import completed
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Desired,
    Goal,
    Observed,
    Record,
    Recreate,
    Status,
)
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.tests.unit import builders, sources

pytestmark = pytest.mark.pure

UTILS = os.path.dirname(os.path.dirname(owners.__file__))
INTERRUPTED = (Phase.CHECKPOINTING, Phase.RESTORING)
# Where a phase is saved, and which: a new place needs a row in SAVES, or a look at what can be there before it.
SAVED_IN = {
    "_checkpoint/dump.py": {Phase.CHECKPOINTING},
    "_checkpoint/task.py": {Phase.REMOVED},
    "_container/create.py": {Phase.RESTORING, Phase.RUNNING, Phase.CREATED},
    "_container/delete.py": {Phase.CHECKPOINTED, Phase.REMOVED},
    "_container/sd_notify.py": {Phase.RUNNING},
    "_container/stop.py": {Phase.STOPPING, Phase.STOPPED},
    "_host/service_processes.py": {Phase.RUNNING},
    "_lifecycle/owner_conmon.py": set(),  # the phase of a start, RUNNING or STARTING, is an argument
    "_lifecycle/recovery.py": {Phase.CHECKPOINTED, Phase.RUNNING},
    "_service/owner_systemd.py": {Phase.CREATED, Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.STOPPED},
}
# Action of a plan, whether the container is a service, and the phases that are saved, one after the other; all that can happen.
SAVES: dict[tuple[str, bool], list[tuple[Phase, ...]]] = {
    ("start", False): [(Phase.RUNNING,), (Phase.STARTING, Phase.RUNNING)],
    ("start", True): [(Phase.STARTING, Phase.RUNNING), (Phase.STARTING, Phase.CREATED)],
    ("stop", False): [(Phase.STOPPING, Phase.STOPPED)],
    ("stop", True): [(Phase.STOPPING, Phase.STOPPED)],
    ("create", False): [(Phase.CREATED,)],
    ("create", True): [(Phase.CREATED,)],
    ("restore", False): [(Phase.RESTORING, Phase.RUNNING), (Phase.RESTORING, Phase.CHECKPOINTED)],
    ("restore", True): [(Phase.RESTORING, Phase.CREATED)],
    ("checkpoint", False): [(Phase.CHECKPOINTING, Phase.CHECKPOINTED), (Phase.CHECKPOINTING, Phase.RUNNING)],
    ("checkpoint", True): [(Phase.CHECKPOINTING, Phase.RUNNING)],
    ("delete", False): [(Phase.REMOVED,)],
    ("delete", True): [(Phase.REMOVED,)],
}
QUIET = {"update", "pause", "resume", "export", "import"}
NEW = {"create", "restore"}  # begin with a new record


def _phases(path: str) -> set[Phase]:
    if "phase=" not in sources.text(path):
        return set()
    calls = [node for node in sources.nodes(path) if isinstance(node, ast.Call)]
    replaced = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "replace"]
    values = [word.value for call in replaced for word in call.keywords if word.arg == "phase"]
    attributes = [node for value in values for node in ast.walk(value) if isinstance(node, ast.Attribute)]
    return {Phase[node.attr] for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "Phase"}


def test_all_places_that_save_a_phase_are_known() -> None:
    found = {os.path.relpath(path, UTILS): _phases(path) for path in glob.glob(f"{UTILS}/*/*.py")}
    assert {path: phases for path, phases in found.items() if phases} == {
        path: phases for path, phases in SAVED_IN.items() if phases
    }


def _seen(phase: Phase, *, service: bool) -> t.Iterator[Observed]:
    """All that observing can say of a container with a record of that phase: see observe.py."""
    record = builders.record(phase=phase, definition=builders.definition(service=service))
    # Without systemd, a stopped one has ended for good.
    alive = (
        [Status.CREATED, Status.RUNNING, Status.PAUSED, Status.UNKNOWN] if service or phase is not Phase.STOPPED else []
    )
    kept = phase if phase in (Phase.STARTING, Phase.STOPPING) or not service else Phase.RUNNING
    # Phase as it is seen, status, leftovers.
    seen = [(kept, status, False) for status in alive] + [(phase, Status.STOPPED, False)]
    seen += [(kept, Status.STOPPED, True)] if alive else []
    if service and phase in (Phase.CREATED, Phase.STARTING):
        seen.append((phase, Status.CREATED, False))  # Its start is yet to come.
    if phase in INTERRUPTED:
        seen.append((phase, Status.CHECKPOINTED, True))
    only = {
        Phase.CREATING: (Status.ABSENT, True), Phase.REMOVED: (Status.STOPPED, False),
        Phase.CHECKPOINTED: (Status.CHECKPOINTED, False),
    }  # fmt: skip
    for now, status, leftovers in [(phase, *only[phase])] if phase in only else seen:
        for unfinished in (False, True) if phase not in INTERRUPTED else (True,):
            one = builders.observed(status, leftovers=leftovers, unfinished=unfinished)
            unready = now is Phase.STARTING and not service
            yield one._replace(record=record.replace(phase=now), unready=unready)


def _walk(record: Record | None, status: Status, actions: t.Sequence[str], *, service: bool) -> None:
    """Save the phases of a plan up to its end, or to a recovery, after which the task decides again."""
    if not actions:
        return
    action, then = actions[0], actions[1:]
    if action == "recover":
        for phase in (Phase.RUNNING, Phase.CHECKPOINTED) if record and record.phase in INTERRUPTED else ():
            t.cast(Record, record).replace(phase=phase)
        return
    if action == "remove":
        if record is not None and record.phase is not Phase.REMOVED:
            ended = Phase.CHECKPOINTED if status is Status.CHECKPOINTED else Phase.REMOVED
            record = None if record.phase is Phase.CREATING else record.replace(phase=ended)
        _walk(record, status, then, service=service)
        return
    if action in QUIET:
        _walk(record, status, then, service=service)
        return
    if action == "delete" and record and record.phase is not Phase.CHECKPOINTED:
        return
    for phases in SAVES[action, service]:
        now = builders.record(phase=Phase.CREATING) if action in NEW else t.cast(Record, record)
        for phase in phases:
            now = now.replace(phase=phase)
        # A failed action is the last one.
        if phases == SAVES[action, service][0] or action == "start":
            _walk(now, status, then, service=service)


EACH = pytest.mark.parametrize(("phase", "service"), list(itertools.product(Phase, (False, True))))


@EACH
def test_no_plan_of_a_container_reaches_a_missing_transition(phase: Phase, service: bool) -> None:
    own = builders.definition(service=service)
    wanted = [
        Desired("web", goal, own, recreate=recreate, restore=restore)
        for goal, recreate, restore in itertools.product(Goal, Recreate, (False, True))
    ]
    for seen, desired, changed in itertools.product(_seen(phase, service=service), wanted, (False, True)):
        changes = {"config.process.args[0]": ("sh", "sleep")} if changed else {}
        try:
            decided = plan(desired, seen, changes=changes, updates={})
            decided = completed(desired, seen, decided)
        except WrongState:
            continue
        _walk(seen.record, seen.status, [action.value for action in decided.actions], service=service)


@EACH
def test_no_plan_of_a_checkpoint_reaches_a_missing_transition(phase: Phase, service: bool) -> None:
    asked = list(
        itertools.product(checkpoint_plan.Goal, (False, True), (None, False, True), (False, True), (False, True))
    )
    for seen, (goal, stored, archive, leave, keep) in itertools.product(_seen(phase, service=service), asked):
        found = checkpoint_plan.Found(seen, seen, stored, archive)
        try:
            decided = checkpoint_plan.plan(goal, found, leave_running=leave, keep=keep)
        except WrongState:
            continue
        words = [action.value for action in decided.actions]
        # The checkpoint that a restore deletes then is no container's. Where a service was not created, none is restored.
        words = words[: words.index("restore") + 1] if "restore" in words else words
        _walk(seen.record, seen.status, words, service=service and seen.status is not Status.ABSENT)
