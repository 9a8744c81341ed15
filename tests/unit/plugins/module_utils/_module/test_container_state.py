# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId
from ansible_collections.longshore.oci.plugins.module_utils._module import container_state
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Exit, Observed, Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


class TestDescribe:
    KEYS: t.ClassVar[list[str]] = [
        "name", "status", "pid", "conmon_pid", "monitored", "exit_code", "exit_reason", "oom_killed", "created_at",
        "started_at", "finished_at", "bundle", "config_digest", "runtime", "cgroup", "log", "network",
        "service",
    ]  # fmt: skip

    @pytest.mark.parametrize("status", list(Status))
    def test_the_same_keys_for_every_status(self, status: Status) -> None:
        assert list(container_state.describe(builders.observed(status))) == self.KEYS

    def test_what_is_absent_has_a_name_only(self) -> None:
        """Also when a record of an interrupted launch is there."""
        seen = Observed("web", Status.ABSENT, builders.record(phase="creating", created_at="then"), leftovers=True)
        told = container_state.describe(seen)
        plain = {"name": "web", "status": "absent", "monitored": False, "oom_killed": False}
        assert told == {**dict.fromkeys(self.KEYS), **plain}

    def test_a_running_one(self) -> None:
        record = builders.record(
            init=ProcessId(7, 1, "b"), monitor=ProcessId(8, 1, "b"), cgroup_path="/l/web",
            conmon_cgroup_path="/l/conmon:web", log_path="/log", created_at="then", started_at="later",
        )  # fmt: skip
        told = container_state.describe(Observed("web", Status.RUNNING, record, monitored=True))
        assert (told["pid"], told["conmon_pid"], told["monitored"], told["exit_code"]) == (7, 8, True, None)
        assert (told["created_at"], told["started_at"], told["finished_at"]) == ("then", "later", None)
        assert told["runtime"] == {
            "name": "runc", "path": "/usr/sbin/runc", "version": "1.1.5", "root": "/run/longshore/runc",
        }  # fmt: skip
        assert told["cgroup"] == {"manager": "cgroupfs", "path": "/l/web", "conmon_path": "/l/conmon:web"}
        assert told["log"] == {"driver": "k8s-file", "path": "/log"}

    @pytest.mark.parametrize(
        ("status", "disconnected", "pid"),
        [(Status.RUNNING, False, 9), (Status.RUNNING, True, None), (Status.STOPPED, False, None)],
    )
    def test_its_network(self, status: Status, disconnected: bool, pid: int | None) -> None:
        wanted = builders.definition(network_helper="pasta", publish=("8080:80",))
        record = builders.record(definition=wanted, helper=ProcessId(9, 1, "b"))
        told = container_state.describe(Observed("web", status, record, disconnected=disconnected))
        assert told["network"] == {"helper": "pasta", "publish": ["8080:80"], "pid": pid}

    def test_a_stopped_one_has_no_pids(self) -> None:
        record = builders.record(init=ProcessId(7, 1, "b"), monitor=ProcessId(8, 1, "b"))
        told = container_state.describe(Observed("web", Status.STOPPED, record, exit=Exit(137, "killed", "now", True)))
        assert (told["pid"], told["conmon_pid"], told["monitored"]) == (None, None, False)
        assert (told["exit_code"], told["exit_reason"], told["oom_killed"], told["finished_at"]) == (
            137, "killed", True, "now",
        )  # fmt: skip
