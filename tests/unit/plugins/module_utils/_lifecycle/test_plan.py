# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import WrongState
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.changes import definition_changes
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.plan import plan
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Action,
    Definition,
    Desired,
    Goal,
    Observed,
    Plan,
    Recreate,
    Status,
)
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

CHANGES = {"config.process.args[0]": ("sh", "sleep")}
UPDATES = {"stop_timeout": (10.0, 30.0)}
NEW = builders.definition(bundle="/srv/new")

# goal, status, what is done where nothing differs, what is done where the definition differs
TABLE = """
present    absent   | create                                  | create
present    created  |                                         | remove create
present    running  |                                         | stop remove create start
present    paused   |                                         | stop remove create start pause
present    stopped  |                                         | remove create
present    checkpointed |                                     | remove create
started    absent   | create start                            | create start
started    created  | start                                   | remove create start
started    running  |                                         | stop remove create start
started    paused   | resume                                  | stop remove create start
started    stopped  | remove create start                     | remove create start
started    checkpointed | restore                             | remove create start
stopped    absent   | create                                  | create
stopped    created  |                                         | remove create
stopped    running  | stop                                    | stop remove create
stopped    paused   | stop                                    | stop remove create
stopped    stopped  |                                         | remove create
stopped    checkpointed |                                     | remove create
restarted  absent   | create start                            | create start
restarted  created  | start                                   | remove create start
restarted  running  | stop remove create start                | stop remove create start
restarted  paused   | stop remove create start                | stop remove create start
restarted  stopped  | remove create start                     | remove create start
restarted  checkpointed | remove create start                 | remove create start
paused     absent   | create start pause                      | create start pause
paused     created  | start pause                             | remove create start pause
paused     running  | pause                                   | stop remove create start pause
paused     paused   |                                         | stop remove create start pause
paused     stopped  | remove create start pause               | remove create start pause
paused     checkpointed | restore pause                       | remove create start pause
absent     absent   |                                         |
absent     created  | remove                                  | remove
absent     running  | stop remove                             | stop remove
absent     paused   | stop remove                             | stop remove
absent     stopped  | remove                                  | remove
absent     checkpointed | remove                              | remove
"""
# goal, status, what is done where an earlier task died while it was stopping the container
STOPPING = """
present    running  | stop
present    paused   | stop
started    running  | stop remove create start
started    paused   | stop remove create start
stopped    running  | stop
stopped    paused   | stop
restarted  running  | stop remove create start
restarted  paused   | stop remove create start
paused     running  | stop remove create start pause
paused     paused   | stop remove create start pause
absent     running  | stop remove
absent     paused   | stop remove
"""
# goal, what is done where there is no container, but something of one is in the way
LEFTOVERS = """
present    | remove create
started    | remove create start
stopped    | remove create
restarted  | remove create start
paused     | remove create start pause
absent     | remove
"""

Row = tuple[Goal, Status, list[str], list[str]]


def _rows(text: str) -> list[Row]:
    rows = []
    for line in text.strip().splitlines():
        pair, *actions = (cell.split() for cell in line.split("|"))
        rows.append((Goal(pair[0]), Status(pair[1]), actions[0], actions[-1]))
    return rows


def _names(found: Plan) -> list[str]:
    return [action.value for action in found.actions]


def _plan(goal: Goal, seen: Observed, *, changed: bool = False, updates: t.Any = None, **more: t.Any) -> Plan:
    desired = Desired("web", goal, **{"definition": NEW, **more})
    return plan(desired, seen, changes=CHANGES if changed else {}, updates=updates or {})


def test_the_table_has_every_goal_in_every_status() -> None:
    known = [status for status in Status if status is not Status.UNKNOWN]
    assert [row[:2] for row in _rows(TABLE)] == [(goal, status) for goal in _goals() for status in known]


@pytest.mark.parametrize("goal", list(Goal))
def test_nothing_is_done_to_a_container_whose_state_is_unknown_but_to_remove_it(goal: Goal) -> None:
    seen = builders.observed(Status.UNKNOWN, problem="youki does not tell the state of web.")
    if goal is Goal.ABSENT:
        assert _names(_plan(goal, seen)) == ["stop", "remove"]
    else:
        with pytest.raises(WrongState, match=r"^youki does not tell the state of web\. state=absent removes it"):
            _plan(goal, seen)


def _goals() -> list[Goal]:
    return [Goal.PRESENT, Goal.STARTED, Goal.STOPPED, Goal.RESTARTED, Goal.PAUSED, Goal.ABSENT]


def test_the_table_has_all_goals() -> None:
    assert set(_goals()) == set(Goal)


@pytest.mark.parametrize(("goal", "status", "same", "changed"), _rows(TABLE))
class TestTable:
    def test_nothing_differs(self, goal: Goal, status: Status, same: list[str], changed: list[str]) -> None:
        assert _names(_plan(goal, builders.observed(status))) == same

    def test_the_definition_differs(self, goal: Goal, status: Status, same: list[str], changed: list[str]) -> None:
        found = _plan(goal, builders.observed(status), changed=True)
        assert _names(found) == changed
        assert found.warnings == ()

    def test_recreate_always(self, goal: Goal, status: Status, same: list[str], changed: list[str]) -> None:
        assert _names(_plan(goal, builders.observed(status), recreate=Recreate.ALWAYS)) == changed

    def test_recreate_never(self, goal: Goal, status: Status, same: list[str], changed: list[str]) -> None:
        found = _plan(goal, builders.observed(status), changed=True, recreate=Recreate.NEVER)
        assert _names(found) == same
        exists = goal is not Goal.ABSENT and status is not Status.ABSENT
        assert len(found.warnings) == exists
        if exists:
            assert "config.process.args[0]" in found.warnings[0]
            assert found.differences == {}  # what is not going to happen

    def test_the_second_run_does_nothing(self, goal: Goal, status: Status, same: list[str], changed: list[str]) -> None:
        """What a plan leads to has to be what its goal asks for, or else each run would do something."""
        result = _plan(goal, builders.observed(status), changed=True).result
        again = Goal.STARTED if goal is Goal.RESTARTED else goal
        assert _names(_plan(again, builders.observed(result))) == []

    def test_result(self, goal: Goal, status: Status, same: list[str], changed: list[str]) -> None:
        after = {
            "stop": Status.STOPPED, "remove": Status.ABSENT, "create": Status.CREATED, "start": Status.RUNNING,
            "resume": Status.RUNNING, "pause": Status.PAUSED, "restore": Status.RUNNING,
        }  # fmt: skip
        expected = after[same[-1]] if same else status
        assert _plan(goal, builders.observed(status)).result is expected

    def test_updates_of_the_record_alone(self, goal: Goal, status: Status, same: list[str], changed: list[str]) -> None:
        """They come first, and are part of the making where the container is made."""
        found = _plan(goal, builders.observed(status), updates=UPDATES)
        alone = "create" not in same and goal is not Goal.ABSENT
        assert _names(found) == (["update", *same] if alone else same)
        assert found.differences == (UPDATES if alone else {})

    def test_the_definition_is_given_to_whoever_creates(
        self, goal: Goal, status: Status, same: list[str], changed: list[str]
    ) -> None:
        found = _plan(goal, builders.observed(status), changed=True)
        assert found.definition == (NEW if "create" in changed else None)
        assert found.differences == (CHANGES if goal is not Goal.ABSENT else {})

    def test_without_a_definition_the_recorded_one_counts(
        self, goal: Goal, status: Status, same: list[str], changed: list[str]
    ) -> None:
        if goal is not Goal.ABSENT and status is Status.ABSENT:
            with pytest.raises(WrongState, match=r"web does not exist.*Set the option bundle"):
                _plan(goal, builders.observed(status), definition=None)
            return
        found = _plan(goal, builders.observed(status), definition=None)
        assert _names(found) == same
        assert found.definition == _recorded(same)

    def test_kept_as_it_is_it_is_made_anew_from_what_is_recorded(
        self, goal: Goal, status: Status, same: list[str], changed: list[str]
    ) -> None:
        found = _plan(goal, builders.observed(status), changed=True, recreate=Recreate.NEVER)
        recorded = _recorded(same)
        assert found.definition == (NEW if recorded and status is Status.ABSENT else recorded)


def _recorded(actions: list[str]) -> Definition | None:
    """What is made or restored: the latter with the very runtime that it was made with."""
    if "restore" in actions:
        return builders.definition(runtime="/usr/sbin/runc")
    return builders.definition() if "create" in actions else None


@pytest.mark.parametrize(("goal", "status", "actions", "_same"), _rows(STOPPING))
def test_an_interrupted_stop_is_finished(goal: Goal, status: Status, actions: list[str], _same: list[str]) -> None:
    assert _names(_plan(goal, builders.observed(status, phase="stopping"))) == actions


@pytest.mark.parametrize(
    ("goal", "actions"),
    [
        (Goal.STARTED, ["stop", "remove", "create", "start"]),
        (Goal.PAUSED, ["stop", "remove", "create", "start", "pause"]),
        (Goal.PRESENT, []),
        (Goal.STOPPED, ["stop"]),
        (Goal.ABSENT, ["stop", "remove"]),
    ],
)
def test_one_that_has_not_said_that_it_is_ready(goal: Goal, actions: list[str]) -> None:
    assert _names(_plan(goal, builders.observed(Status.RUNNING, phase="starting"))) == actions


@pytest.mark.parametrize("line", LEFTOVERS.strip().splitlines())
def test_leftovers_are_removed(line: str) -> None:
    goal, actions = (cell.split() for cell in line.split("|"))
    found = _plan(Goal(goal[0]), Observed("web", Status.ABSENT, leftovers=True))
    assert _names(found) == actions


def test_a_container_that_was_being_created_comes_from_its_record() -> None:
    """A run that was killed in the middle of it leaves a record that has the definition."""
    seen = Observed("web", Status.ABSENT, builders.record(phase="creating"), leftovers=True)
    found = _plan(Goal.STARTED, seen, definition=None)
    assert (_names(found), found.definition) == (["remove", "create", "start"], builders.definition())


def test_a_definition_that_is_kept_does_not_keep_updates_away() -> None:
    found = _plan(
        Goal.STARTED, builders.observed(Status.RUNNING), changed=True, updates=UPDATES, recreate=Recreate.NEVER
    )
    assert (_names(found), found.differences) == (["update"], UPDATES)


def test_many_differences_are_named_in_short() -> None:
    changes = {f"config.process.args[{number}]": ("a", "b") for number in range(8)}
    desired = Desired("web", definition=NEW, recreate=Recreate.NEVER)
    found = plan(desired, builders.observed(Status.RUNNING), changes=changes, updates={})
    assert "args[4] and 3 more" in found.warnings[0]
    assert "args[5]" not in found.warnings[0]


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED])
@pytest.mark.parametrize("goal", [goal for goal in Goal if goal is not Goal.ABSENT])
def test_a_container_that_stays_without_conmon(goal: Goal, status: Status) -> None:
    found = _plan(goal, builders.observed(status, monitored=False))
    stays = Action.STOP not in found.actions
    assert [text.partition(",")[0] for text in found.warnings] == ["conmon of web has ended"] * stays
    assert _plan(goal, builders.observed(status)).warnings == ()


def test_actions_have_the_names_that_are_documented() -> None:
    assert [action.value for action in Action] == [
        "update",
        "stop",
        "remove",
        "create",
        "start",
        "pause",
        "resume",
        "restore",
        "recover",
    ]


@pytest.mark.parametrize(
    ("recorded", "wanted", "expected"),
    [
        ({}, {}, {}),
        ({}, {"log_size_max": 10}, {"launch.log_size_max": (None, 10)}),
        ({"runtime_args": ("--debug",)}, {}, {"launch.runtime_args": (["--debug"], [])}),
        ({"bundle": "/srv/old"}, {}, {"launch.bundle": ("/srv/old", "/srv/web")}),
        # Whatever was taken is what these ask for.
        ({"runtime": "runc"}, {"runtime": "auto"}, {}),
        ({"conmon": "/opt/conmon"}, {}, {}),
        ({"cgroup_manager": "cgroupfs"}, {"cgroup_manager": "auto"}, {}),
        # And so is to name just that.
        ({}, {"runtime": "runc"}, {}),
        ({}, {"runtime": "/usr/sbin/runc"}, {}),
        ({}, {"conmon": "/usr/bin/conmon"}, {}),
        ({}, {"cgroup_manager": "cgroupfs"}, {}),
        ({}, {"runtime_root": "/run/longshore/runc"}, {}),
        ({}, {"log_path": "/var/log/web"}, {}),
        # To name another is a wish.
        ({}, {"runtime": "crun"}, {"launch.runtime": ("auto", "crun")}),
        ({}, {"conmon": "/opt/conmon"}, {"launch.conmon": (None, "/opt/conmon")}),
        ({}, {"cgroup_manager": "systemd"}, {"launch.cgroup_manager": ("auto", "systemd")}),
        ({}, {"runtime_root": "/run/other"}, {"launch.runtime_root": (None, "/run/other")}),
        ({"log_path": "/var/log/web"}, {}, {"launch.log_path": ("/var/log/web", None)}),
        # Secrets.
        (
            {"conmon_env": {"A": "one"}},
            {"conmon_env": {"A": "two"}},
            {"launch.conmon_env": ("(hidden)", "(hidden, new)")},
        ),
    ],
)
def test_definition_changes(recorded: t.Any, wanted: t.Any, expected: t.Any) -> None:
    record = builders.record(definition=builders.definition(**recorded), log_path="/var/log/web")
    assert definition_changes(builders.definition(**wanted), record) == expected


class TestCheckpointed:
    def _plan(self, goal: Goal, *, leftovers: bool = False, **changes: t.Any) -> Plan:
        found = builders.observed(Status.CHECKPOINTED, phase="checkpointed", leftovers=leftovers)
        return plan(Desired("web", goal, **changes), found, changes={}, updates={})

    def test_it_goes_on_with_the_runtime_that_made_it(self) -> None:
        decided = self._plan(Goal.STARTED)
        assert decided.actions == (Action.RESTORE,)
        assert decided.result is Status.RUNNING
        assert decided.definition == builders.definition(runtime="/usr/sbin/runc")

    @pytest.mark.parametrize("goal", list(Goal))
    @pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED, Status.CHECKPOINTED, Status.STOPPED])
    def test_what_a_killed_task_was_at_is_ended_before_anything_else(self, goal: Goal, status: Status) -> None:
        found = builders.observed(status, phase="checkpointing", unfinished=True)
        desired = Desired("web", goal, NEW)
        decided = plan(desired, found, changes={}, updates={})
        clear = plan(desired, found._replace(unfinished=False), changes={}, updates={})
        assert decided == clear._replace(actions=(Action.RECOVER, *clear.actions))

    def test_what_a_killed_restore_has_left_goes_first(self) -> None:
        assert self._plan(Goal.STARTED, leftovers=True).actions == (Action.REMOVE, Action.RESTORE)
        assert self._plan(Goal.STOPPED, leftovers=True).actions == ()

    @pytest.mark.parametrize(("goal", "last"), [(Goal.STARTED, []), (Goal.PAUSED, [Action.PAUSE])])
    def test_it_starts_afresh_where_that_is_asked_for(self, goal: Goal, last: list[Action]) -> None:
        decided = self._plan(goal, restore=False, definition=NEW)
        assert decided.actions == (Action.REMOVE, Action.CREATE, Action.START, *last)
        assert decided.definition == NEW


@pytest.mark.parametrize(
    ("goal", "warned"), [(Goal.STARTED, True), (Goal.PAUSED, True), (Goal.RESTARTED, False), (Goal.STOPPED, False), (Goal.ABSENT, False)]
)  # fmt: skip
def test_one_that_is_cut_off_is_warned_of_while_it_stays(goal: Goal, warned: bool) -> None:
    decided = plan(Desired("web", goal), builders.observed(Status.RUNNING, disconnected=True), changes={}, updates={})
    assert ["has no network" in warning for warning in decided.warnings] == [True] * warned
