# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import WrongState
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.plan import Found, Goal, plan
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Exit, Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


def found(
    status: Status, *, phase: str = "running", stored: bool = False, archive: bool | None = None, **changes: t.Any
) -> Found:
    unfinished = phase in ("checkpointing", "restoring")
    one = builders.observed(status, phase=phase, unfinished=unfinished, **changes)
    return Found(one, one, stored, archive)


def actions(goal: Goal, what: Found, *, leave_running: bool = False, keep: bool = False) -> str:
    return " ".join(action.value for action in plan(goal, what, leave_running=leave_running, keep=keep).actions)


@pytest.mark.parametrize(
    ("status", "phase", "archive", "expected"),
    [
        (Status.RUNNING, "running", None, "checkpoint"),
        (Status.RUNNING, "running", True, "checkpoint export"),
        (Status.PAUSED, "running", False, "checkpoint export"),
        (Status.RUNNING, "checkpointing", None, "recover checkpoint"),
        (Status.CHECKPOINTED, "checkpointed", None, ""),
        (Status.CHECKPOINTED, "checkpointed", True, ""),
        (Status.CHECKPOINTED, "checkpointed", False, "export"),
        (Status.CHECKPOINTED, "checkpointing", None, "recover"),
        (Status.CHECKPOINTED, "restoring", False, "recover export"),
    ],
)
def test_checkpointed(status: Status, phase: str, archive: bool | None, expected: str) -> None:
    what = found(status, stored=True, archive=archive, phase=phase)
    assert actions(Goal.CHECKPOINTED, what) == expected
    assert plan(Goal.CHECKPOINTED, what, leave_running=False, keep=False).result is Status.CHECKPOINTED
    if status is not Status.CHECKPOINTED:
        assert plan(Goal.CHECKPOINTED, what, leave_running=True, keep=False).result is status


@pytest.mark.parametrize(
    ("status", "why"),
    [(Status.ABSENT, "does not exist"), (Status.CREATED, "has not been started"), (Status.STOPPED, "does not run")],
)
def test_only_what_runs_can_be_checkpointed(status: Status, why: str) -> None:
    with pytest.raises(WrongState, match=why):
        actions(Goal.CHECKPOINTED, found(status, stored=True))


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (Exit(137, "killed", None, True), "it has ended with exit code 137 (memory ran out)."),
        (Exit(0, "exited", None, False), "it has ended with exit code 0."),
        (Exit(None, "monitor-lost", None, False), "it has ended."),
    ],
)
def test_an_end_is_told(end: Exit, says: str) -> None:
    what = found(Status.STOPPED, stored=True)
    with pytest.raises(WrongState, match=re.escape(says)):
        actions(Goal.CHECKPOINTED, what._replace(source=what.source._replace(exit=end)))


@pytest.mark.parametrize(
    ("status", "phase", "leftovers", "stored", "archive", "expected"),
    [
        (Status.RUNNING, "running", False, False, None, ""),
        (Status.PAUSED, "running", False, True, True, ""),
        (Status.CHECKPOINTED, "checkpointed", False, True, None, "restore delete"),
        (Status.CHECKPOINTED, "restoring", True, True, None, "recover remove restore delete"),
        (Status.CHECKPOINTED, "checkpointed", False, True, True, "import restore"),
        (Status.STOPPED, "stopped", False, True, None, "remove restore delete"),
        (Status.STOPPED, "removed", False, True, None, "restore delete"),
        (Status.CREATED, "created", False, True, None, "remove restore delete"),
        (Status.ABSENT, "", False, False, True, "import restore"),
        (Status.ABSENT, "", True, False, True, "remove import restore"),
    ],
)
def test_restored(
    status: Status, phase: str, leftovers: bool, stored: bool, archive: bool | None, expected: str
) -> None:
    what = found(status, stored=stored, archive=archive, phase=phase, leftovers=leftovers)
    assert actions(Goal.RESTORED, what) == expected
    assert actions(Goal.RESTORED, what, keep=True) == expected.replace(" delete", "")


def test_a_checkpoint_that_is_gone_is_said_to_be() -> None:
    with pytest.raises(WrongState, match="is not there any more") as caught:
        actions(Goal.CHECKPOINTED, found(Status.CHECKPOINTED, phase="checkpointed"))
    assert "state: absent" in caught.value.hint
    assert actions(Goal.RESTORED, found(Status.CHECKPOINTED, phase="checkpointed", archive=True)) == "import restore"


def test_what_was_killed_at_the_source_or_the_target_is_ended_first() -> None:
    source = builders.observed(Status.CHECKPOINTED, phase="checkpointed")
    target = builders.observed(Status.ABSENT, name="other", unfinished=True)
    assert actions(Goal.RESTORED, Found(source, target, True, None)) == "recover import restore"


def test_a_checkpoint_of_another_container_is_not_deleted() -> None:
    source = builders.observed(Status.CHECKPOINTED, phase="checkpointed")
    target = builders.observed(Status.ABSENT, name="other")
    assert actions(Goal.RESTORED, Found(source, target, True, None)) == "import restore"


@pytest.mark.parametrize("goal", [Goal.CHECKPOINTED, Goal.RESTORED])
@pytest.mark.parametrize("of_target", [False, True])
def test_one_whose_runtime_does_not_tell_its_state_is_left_alone(goal: Goal, of_target: bool) -> None:
    seen = builders.observed(Status.UNKNOWN)._replace(problem="youki does not tell the state of web")
    other = builders.observed(Status.RUNNING if goal is Goal.CHECKPOINTED else Status.CHECKPOINTED, name="other")
    pair = (other, seen) if of_target else (seen, other)
    with pytest.raises(WrongState, match="youki does not tell the state"):
        actions(goal, Found(*pair, True, True))


SERVICE = builders.definition(service=True)


def _service(status: Status, phase: str) -> Found:
    seen = found(status, phase=phase, stored=True).source
    seen = seen._replace(record=builders.record(phase=phase, definition=SERVICE))
    return Found(seen, seen, True, None)


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        (Status.CREATED, "created"),
        (Status.STOPPED, "stopped"),
        (Status.STOPPED, "removed"),
        (Status.CHECKPOINTED, "checkpointed"),
        (Status.CHECKPOINTED, "restoring"),
    ],
)
@pytest.mark.parametrize("archive", [None, True])
def test_a_service_is_not_restored_under_its_name(status: Status, phase: str, archive: bool | None) -> None:
    what = _service(status, phase)._replace(archive=archive)
    with pytest.raises(WrongState, match="The container web is a service") as caught:
        actions(Goal.RESTORED, what)
    assert "new_name" in caught.value.hint
    other = what._replace(target=builders.observed(Status.ABSENT, name="other"))
    assert actions(Goal.RESTORED, other).endswith("import restore")
    running = what._replace(target=_service(Status.RUNNING, "running").target)
    assert actions(Goal.RESTORED, running).replace("recover", "") == ""


def test_what_was_not_created_is_no_service() -> None:
    what = _service(Status.ABSENT, "creating")
    what = what._replace(archive=True, target=what.target._replace(leftovers=True))
    assert actions(Goal.RESTORED, what) == "remove import restore"


def test_a_checkpoint_does_not_end_a_service() -> None:
    what = _service(Status.RUNNING, "running")
    with pytest.raises(WrongState, match="The container web is a service") as caught:
        actions(Goal.CHECKPOINTED, what)
    assert "leave_running" in caught.value.hint
    assert actions(Goal.CHECKPOINTED, what, leave_running=True) == "checkpoint"


def test_nothing_to_restore_from() -> None:
    with pytest.raises(WrongState, match="There is no checkpoint of the container web"):
        actions(Goal.RESTORED, found(Status.STOPPED))
    with pytest.raises(WrongState, match="There is no archive"):
        actions(Goal.RESTORED, found(Status.ABSENT, archive=False))


@pytest.mark.parametrize(
    ("status", "stored", "expected", "result"),
    [
        (Status.RUNNING, True, "delete", Status.RUNNING),
        (Status.RUNNING, False, "", Status.RUNNING),
        (Status.CHECKPOINTED, True, "delete", Status.STOPPED),
        (Status.CHECKPOINTED, False, "delete", Status.STOPPED),
        (Status.ABSENT, False, "", Status.ABSENT),
    ],
)
def test_absent(status: Status, stored: bool, expected: str, result: Status) -> None:
    assert actions(Goal.ABSENT, found(status, stored=stored, phase="checkpointed")) == expected
    decided = plan(Goal.ABSENT, found(status, stored=stored, phase="checkpointed"), leave_running=False, keep=False)
    assert decided.result is result
