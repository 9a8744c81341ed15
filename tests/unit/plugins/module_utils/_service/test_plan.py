# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a service whose task was killed while systemd was at work for it: decided without systemd."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import WrongState
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._container.observe import observe
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.plan import plan
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.unfinished_work import completed
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Action, Desired, Goal, Record, Status
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

# phase, status, goal, what is done
TABLE = """
created  created  present   |
created  created  stopped   |
created  created  started   | start
starting created  present   | start
starting created  started   | start
starting created  restarted | start
starting created  paused    | start pause
starting created  stopped   | stop
starting created  absent    | remove
starting running  present   | start
starting running  started   | start
starting running  restarted | stop remove create start
starting running  paused    | start pause
starting running  stopped   | stop
starting running  absent    | stop remove
starting stopped  present   |
starting stopped  started   | remove create start
starting stopped  stopped   | stop
running  running  present   |
running  running  started   |
running  stopped  present   |
running  stopped  started   | remove create start
running  stopped  stopped   | stop
running  stopped  absent    | remove
stopping running  present   | stop
stopping running  started   | stop remove create start
stopping stopped  present   | stop
stopping stopped  stopped   | stop
stopping stopped  started   | remove create start
stopped  stopped  present   |
stopped  stopped  stopped   |
removed  stopped  stopped   |
"""
ROWS = [line.partition("|") for line in TABLE.strip().splitlines()]


def _plan(record: Record, status: Status, goal: Goal, **updates: tuple[float, float]) -> tuple[list[str], Status]:
    desired, seen = Desired("web", goal), builders.observed(status)._replace(record=record)
    decided = completed(desired, seen, plan(desired._replace(definition=None), seen, changes={}, updates=updates))
    return [action.value for action in decided.actions], decided.result


@pytest.mark.parametrize("row", [(*row[0].split(), row[2]) for row in ROWS], ids=lambda row: "-".join(row[:3]))
def test_what_is_finished(row: tuple[str, str, str, str]) -> None:
    phase, status, goal, wanted = row
    record = builders.record(phase=phase, definition=builders.definition(service=True))
    actions, result = _plan(record, Status(status), Goal(goal))
    assert actions == wanted.split()
    ends = {"start": Status.RUNNING, "stop": Status.STOPPED, "pause": Status.PAUSED, "remove": Status.ABSENT}
    assert result is (ends[actions[-1]] if actions else Status(status))


def test_a_unit_that_was_not_written() -> None:
    record = builders.record(phase="running", definition=builders.definition(service=True), unit_pending=True)
    for goal in (Goal.PRESENT, Goal.STARTED):
        assert _plan(record, Status.RUNNING, goal) == (["update"], Status.RUNNING)
    assert _plan(record, Status.RUNNING, Goal.STOPPED) == (["update", "stop"], Status.STOPPED)
    starting = record.replace(phase=Phase.STARTING, unit_pending=False)
    assert _plan(starting, Status.CREATED, Goal.STARTED, stop_timeout=(1, 2))[0] == ["update", "start"]
    # What is made anew has its unit written in any case.
    assert Action.UPDATE.value not in _plan(record, Status.RUNNING, Goal.RESTARTED)[0]


def test_a_record_of_the_former_release_is_read() -> None:
    value = builders.record().to_json()
    value["definition"] = dict(value["definition"])
    del value["unit_pending"]
    assert not Record.from_json(value).unit_pending


def test_a_start_that_systemd_may_be_at(tmp_path: pathlib.Path) -> None:
    """No process of it can be known yet."""
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    paths = store.paths("web")
    (tmp_path / "state/containers/web").mkdir(parents=True)
    record = builders.record(
        phase="starting", definition=builders.definition(service=True), runtime_root=f"{tmp_path}/run/runc"
    )
    store.save(record)
    assert observe(store, "web").status is Status.CREATED
    # One that has run is known by its exit.
    pathlib.Path(paths.exits).mkdir(parents=True)
    pathlib.Path(paths.owner).symlink_to(paths.state)
    (pathlib.Path(paths.exits) / "web").write_text("3")
    seen = observe(store, "web")
    assert (seen.status, seen.exit and seen.exit.code) == (Status.STOPPED, 3)
    store.save(record.replace(init=identify(1)))
    assert observe(store, "web").status is Status.RUNNING


@pytest.mark.parametrize("goal", [Goal.STARTED, Goal.PAUSED])
def test_a_restore_of_an_earlier_release(goal: Goal) -> None:
    """Its task was killed. The script of a service cannot restore, so the next one refuses it, before anything is touched."""
    record = builders.record(phase="checkpointed", definition=builders.definition(service=True))
    with pytest.raises(WrongState, match="The container web is a service") as caught:
        _plan(record, Status.CHECKPOINTED, goal)
    assert "restore: false" in caught.value.hint
    assert _plan(record, Status.CHECKPOINTED, Goal.ABSENT) == (["remove"], Status.ABSENT)
    desired = Desired("web", goal, restore=False)
    seen = builders.observed(Status.CHECKPOINTED)._replace(record=record)
    assert Action.CREATE in completed(desired, seen, plan(desired, seen, changes={}, updates={})).actions


@pytest.mark.parametrize("goal", [Goal.PRESENT, Goal.STARTED, Goal.STOPPED])
def test_a_recovery_comes_first(goal: Goal) -> None:
    """A dump of a service whose task was killed: its phase is no one's to stop from."""
    record = builders.record(phase="checkpointing", definition=builders.definition(service=True))
    seen = builders.observed(Status.STOPPED)._replace(record=record, unfinished=True)
    desired = Desired("web", goal, definition=None)
    decided = completed(desired, seen, plan(desired, seen, changes={}, updates={}))
    assert decided.actions[0] is Action.RECOVER
