# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._module import container, definition
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Action,
    Definition,
    Desired,
    Exit,
    Goal,
    NetworkHelper,
    Outcome,
    Plan,
    Recreate,
    Status,
    StopReport,
    Timeouts,
)
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


def _params(**given: t.Any) -> dict[str, t.Any]:
    """What Ansible makes of a task's arguments."""
    defaults = {name: spec.get("default") for name, spec in container.ARGUMENTS.items()}
    return {**defaults, "name": "web", **given}


class TestDesired:
    def test_a_name_alone(self) -> None:
        assert container.desired(_params()) == Desired("web", Goal.STARTED)

    def test_a_bundle_makes_a_definition(self) -> None:
        found = container.desired(_params(bundle="/srv/web"))
        assert found == Desired("web", Goal.STARTED, Definition(bundle="/srv/web"))

    @pytest.mark.parametrize("name", ["stop_timeout", "kill_timeout", "create_timeout", "ready_timeout"])
    @pytest.mark.parametrize("value", [float("inf"), float("nan"), -1, 1e300])
    def test_seconds_that_nothing_can_wait(self, name: str, value: float) -> None:
        with pytest.raises(InvalidOption, match=name):
            container.desired(_params(**{name: value}))

    def test_each_field_of_a_definition_is_an_option(self) -> None:
        options = (*definition.DEFINITION_ARGUMENTS, *definition.SERVICE_ARGUMENTS, *definition.NETWORK_ARGUMENTS)
        assert options == Definition._fields

    def test_everything(self) -> None:
        given = {
            "bundle": "/srv/web", "runtime": "runc", "runtime_root": "/r", "runtime_args": ["--debug"],
            "conmon": "/opt/conmon", "conmon_env": {"A": 1}, "cgroup_manager": "cgroupfs", "cgroup_parent": "/p",
            "log_driver": "k8s-file", "log_path": "/log", "log_size_max": "10M", "log_tag": "tag", "stdin": True,
            "no_pivot": True, "no_new_keyring": True, "conmon_pidfile": "/pid", "exit_command": ["/bin/true", "x"],
            "exit_delay": 3, "sdnotify": "container", "reserve_ports": ["80/udp"], "listen": ["80"],
        }  # fmt: skip
        assert list(given) == list(definition.DEFINITION_ARGUMENTS)
        expected: dict[str, t.Any] = {
            **given, "runtime_args": ("--debug",), "conmon_env": {"A": "1"}, "log_size_max": 10 * 1024 * 1024,
            "exit_command": ("/bin/true", "x"), "reserve_ports": ("80/udp",), "listen": ("80",),
        }  # fmt: skip
        assert container.desired(_params(**given)).definition == Definition(**expected)

    def test_a_network(self) -> None:
        given = {"network_helper": "pasta", "publish": ["8080:80"], "network_options": ["-4"]}
        expected = Definition(
            "/srv/web", network_helper=NetworkHelper.PASTA, publish=("8080:80",), network_options=("-4",)
        )
        assert container.desired(_params(bundle="/srv/web", **given)).definition == expected

    def test_without_a_bundle_what_is_given_overrides_the_record(self) -> None:
        found = container.desired(_params(log_driver="none", stdin=False, exit_command=[]))
        assert found.definition is None
        assert found.overrides == {"log_driver": "none", "stdin": False, "exit_command": ()}

    @pytest.mark.parametrize("goal", list(Goal))
    @pytest.mark.parametrize("recreate", list(Recreate))
    def test_goals(self, goal: Goal, recreate: Recreate) -> None:
        found = container.desired(_params(state=goal.value, recreate=recreate.value))
        assert (found.goal, found.recreate) == (goal, recreate)

    def test_the_documented_choices(self) -> None:
        assert sorted(container.ARGUMENTS["state"]["choices"]) == [
            "absent", "paused", "present", "restarted", "started", "stopped",
        ]  # fmt: skip
        assert container.ARGUMENTS["recreate"]["choices"] == ["changed", "always", "never"]

    def test_stopping(self) -> None:
        found = container.desired(_params(stop_signal="INT", stop_timeout=0.0, kill_timeout=1.5, create_timeout=7.0))
        assert found.stop_signal == 2
        assert found.timeouts == Timeouts(stop=0.0, kill=1.5, create=7.0)

    def test_what_is_not_given_is_as_recorded(self) -> None:
        found = container.desired(_params())
        assert (found.stop_signal, found.timeouts) == (None, Timeouts(stop=None, kill=5, create=240))

    @pytest.mark.parametrize("name", ["stop_timeout", "kill_timeout", "create_timeout", "ready_timeout", "exit_delay"])
    def test_no_time_is_negative(self, name: str) -> None:
        with pytest.raises(InvalidOption, match=f"^{name} cannot be negative"):
            container.desired(_params(**{name: -1}))

    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("10M", 10485760),
            ("1K", 1024),
            ("512", 512),
            ("1.5K", 1536),
            ("-1", 0),
            ("unlimited", 0),
            ("10mb", 10485760),
        ],
    )
    def test_sizes(self, text: str, size: int) -> None:
        assert container.desired(_params(bundle="/b", log_size_max=text)).definition == Definition(
            "/b", log_size_max=size
        )

    @pytest.mark.parametrize("text", ["", "ten", "10X", "-2", "1e", "9" * 30])
    def test_no_size(self, text: str) -> None:
        with pytest.raises(InvalidOption, match=r"^log_size_max cannot be"):
            container.desired(_params(bundle="/b", log_size_max=text))

    @pytest.mark.parametrize("value", [True, False, None, 1.5, ["a"], {"a": 1}])
    def test_the_environment_of_conmon_is_text(self, value: t.Any) -> None:
        with pytest.raises(InvalidOption, match="conmon_env: the value of A must be text"):
            container.desired(_params(bundle="/b", conmon_env={"A": value}))
        with pytest.raises(InvalidOption, match="conmon_env"):
            container.desired(_params(bundle="/b", conmon_env={True: "x"}))

    def test_no_signal(self) -> None:
        with pytest.raises(InvalidOption, match="NOPE is not a signal"):
            container.desired(_params(stop_signal="NOPE"))


class Module:
    """What result() needs of an AnsibleModule."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.warn = self.warnings.append


def _outcome(*actions: Action, **changes: t.Any) -> Outcome:
    values = {
        "plan": Plan(actions, Status.RUNNING), "before": builders.observed(Status.ABSENT),
        "after": builders.observed(Status.RUNNING), "actions": actions,
    }  # fmt: skip
    return Outcome(**{**values, **changes})


class TestResult:
    def test_nothing_to_do(self) -> None:
        seen = builders.observed(Status.RUNNING)
        found = container.result(t.cast(t.Any, Module()), _outcome(before=seen))
        assert found["changed"] is False
        assert found["actions"] == []
        assert found["container"]["status"] == "running"
        assert found["diff"] == {"before": {"status": "running"}, "after": {"status": "running"}}
        assert "stop" not in found

    def test_something_done(self) -> None:
        found = container.result(t.cast(t.Any, Module()), _outcome(Action.CREATE, Action.START))
        assert found["changed"] is True
        assert found["actions"] == ["create", "start"]
        assert found["diff"] == {"before": {"status": "absent"}, "after": {"status": "running"}}

    def test_the_diff_is_that_of_the_plan(self) -> None:
        differences = {
            "config.a": (1, 2),
            "config.new": (None, True),
            "config.gone": ("x", None),
            "config.zero": (0, False),
        }
        plan = Plan((Action.REMOVE,), Status.ABSENT, differences=differences)
        found = container.result(t.cast(t.Any, Module()), _outcome(Action.REMOVE, plan=plan))
        assert found["diff"] == {
            "before": {"status": "absent", "config.a": 1, "config.gone": "x", "config.zero": 0},
            "after": {"status": "absent", "config.a": 2, "config.new": True, "config.zero": False},
        }

    def test_what_a_stop_took(self) -> None:
        stop = StopReport(signal="TERM", killed=True, waited=10.1)
        after = builders.observed(Status.STOPPED, exit=Exit(137, "killed", "now", False))
        found = container.result(t.cast(t.Any, Module()), _outcome(Action.STOP, after=after, stop=stop))
        assert found["stop"] == {"signal": "TERM", "killed": True, "waited": 10.1}
        assert found["container"]["exit_code"] == 137

    def test_warnings_are_passed_on(self) -> None:
        module = Module()
        container.result(t.cast(t.Any, module), _outcome(warnings=("careful", "really")))
        assert module.warnings == ["careful", "really"]

    @pytest.mark.parametrize(
        ("end", "says"),
        [
            (Exit(1, "exited", "now", False), ["The container web was started, and has ended already with exit code 1."]),
            (Exit(137, "killed", "now", True),
             ["The container web was started, and has ended already with exit code 137 (memory ran out)."]),
            (Exit(None, "monitor-lost", None, False), ["The container web was started, and has ended already."]),
            (Exit(0, "exited", "now", False), []),
        ],
    )  # fmt: skip
    def test_an_end_right_after_the_start_is_told(self, end: Exit, says: list[str]) -> None:
        after = builders.observed(Status.STOPPED, exit=end)
        for started, plan in ((says, Status.RUNNING), ([], Status.STOPPED)):
            module = Module()
            outcome = _outcome(Action.START, after=after, plan=Plan((Action.START,), plan))
            container.result(t.cast(t.Any, module), outcome)
            assert module.warnings == started
        module = Module()  # In check mode, it has not been started.
        container.result(t.cast(t.Any, module), _outcome(Action.CREATE, Action.START, before=after, after=after))
        assert module.warnings == []


class TestSecrets:
    def test_conmons_environment_is_not_logged(self) -> None:
        assert container.ARGUMENTS["conmon_env"]["no_log"] is True
