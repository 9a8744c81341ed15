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
from ansible_collections.longshore.oci.plugins.module_utils._service.unit_state import UnitState
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
running  created  present   |
running  created  started   | start
running  created  stopped   | stop
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


DRIFT = {"service.unit": (["Restart=always"], ["Restart=no"])}
# phase, status, goal, the unit (e: enabled, a: active, d: with differences), what is done, and what the diff tells
UNITS = """
stopped  stopped stopped | -   |             |
stopped  stopped stopped | e   | stop        | service.enabled
stopped  stopped stopped | a   | stop        | service.active
stopped  stopped stopped | d   | update      | service.unit
stopped  stopped stopped | ead | stop        | service.active service.enabled service.unit
created  created stopped | -   |             |
created  created stopped | e   | stop        | service.enabled
created  created stopped | a   | stop        | service.active
running  created stopped | a   | stop        | service.active
running  stopped stopped | ea  | stop        | service.active service.enabled
running  running stopped | e   | stop        |
running  running stopped | -   | stop        |
running  running started | e   |             |
running  running started | ea  |             |
running  running started | -   | update      | service.enabled
running  running started | d   | update      | service.enabled service.unit
running  running started | ed  | update      | service.unit
running  paused  started | -   | update resume | service.enabled
running  running paused  | -   | update pause | service.enabled
running  paused  paused  | e   |             |
running  running present | -   | update      | service.enabled
running  stopped present | -   | update      | service.enabled
stopped  stopped present | ed  | update      | service.unit
stopped  stopped present | e   |             |
created  created present | e   |             |
created  created present | d   | update      | service.unit
created  created started | -   | start       |
created  created started | d   | update start | service.unit
running  created started | -   | start       |
running  running restarted | -  | stop remove create start |
running  running restarted | d  | stop remove create start |
running  running absent  | d   | stop remove |
"""


@pytest.mark.parametrize("row", UNITS.strip().splitlines())
def test_a_unit_that_was_changed_by_hand(row: str) -> None:
    """A stopped service neither runs nor starts at boot, one that was started does, and the unit is as written."""
    words, letters, actions, shown = (part.strip() for part in row.split("|"))
    phase, status, goal = words.split()
    record = builders.record(phase=phase, definition=builders.definition(service=True))
    unit = UnitState("e" in letters, "a" in letters, DRIFT if "d" in letters else {})
    desired, seen = Desired("web", Goal(goal)), builders.observed(Status(status))._replace(record=record)
    decided = completed(desired, seen, plan(desired, seen, changes={}, updates={}), unit)
    assert [action.value for action in decided.actions] == actions.split()
    assert sorted(decided.differences) == shown.split()
    # What it is then, is nothing to be done.
    if decided.actions and decided.actions[-1] is Action.STOP:
        assert decided.result is Status.STOPPED


def test_other_settings_and_a_changed_unit_are_one_update() -> None:
    record = builders.record(phase="running", definition=builders.definition(service=True))
    desired, seen = Desired("web", Goal.STARTED), builders.observed(Status.RUNNING)._replace(record=record)
    found = plan(desired, seen, changes={}, updates={"stop_timeout": (1, 2)})
    decided = completed(desired, seen, found, UnitState(True, True, DRIFT))
    assert [action.value for action in decided.actions] == ["update"]
    assert decided.differences == {"stop_timeout": (1, 2), **DRIFT}
