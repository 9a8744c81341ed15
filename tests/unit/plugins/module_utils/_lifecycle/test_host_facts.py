# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which differences of two configs come from the host alone."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._config import config_differences
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import host_facts
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

BIND = {"destination": "/data", "type": "bind", "source": "/data", "options": ["rbind", "ro", "rro"]}
CONFIG = builders.config(
    annotations={config_differences.ASKED: "sha256:1"},
    mounts=[{"destination": "/etc/resolv.conf", "type": "bind", "source": "/etc/resolv.conf"}, BIND],
    linux={"namespaces": [{"type": "pid"}], "resources": {"pids": {"limit": 1}, "memory": {"limit": 2, "swap": 4}}},
)


def changed(path: str, value: t.Any) -> dict[str, t.Any]:
    """Return the config with another value at a path."""
    found = copy.deepcopy(CONFIG)
    *names, last = (int(name) if name.isdigit() else name for name in path.split("."))
    at: t.Any = found
    for name in names:
        at = at[name] if isinstance(name, int) else at.setdefault(name, {})
    at[last] = value
    return found


def split(after: dict[str, t.Any], before: dict[str, t.Any] | None = None) -> tuple[list[str], list[str]]:
    before = CONFIG if before is None else before
    found = config_differences.differences({"config": before}, {"config": after})
    own, facts = host_facts.split(before, after, found)
    return list(own), facts


@pytest.mark.parametrize(
    ("path", "value", "part"),
    [
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW"}, "linux.seccomp"),
        ("linux.devices", [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2}], "linux.devices"),
        ("linux.resources.devices", [{"allow": False}], "linux.resources.devices"),
        ("linux.resources.pids", None, "linux.resources.pids"),
        ("linux.resources.memory.swap", None, "linux.resources.memory.swap"),
        ("linux.namespaces", [{"type": "pid"}, {"type": "cgroup"}], "linux.namespaces"),
        ("process.capabilities", {"bounding": ["CAP_BPF"]}, "process.capabilities"),
        ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}], "process.rlimits"),
        ("process.apparmorProfile", "containers-default-1", "process.apparmorProfile"),
        ("mounts.0.source", "/run/systemd/resolve/resolv.conf", "mounts"),
        ("mounts", [BIND], "mounts"),
        ("mounts.1.options", ["rbind", "ro"], "mounts"),
    ],
)  # fmt: skip
def test_a_part_of_the_host(path: str, value: t.Any, part: str) -> None:
    after = changed(path, value)
    assert split(after) == ([], [part])
    # Without the same task, it is a difference like any other.
    for other in ("sha256:2", None):
        own, facts = split({**after, "annotations": {config_differences.ASKED: other} if other else {}})
        assert own
        assert own == [key for key in own if key.startswith("config.") and "annotations" not in key]
        assert facts == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("process.args", ["/other"]), ("linux.resources.memory.limit", 3), ("linux.namespaces", []), ("mounts.1.source", "/other"),
        ("mounts.1.options", ["rbind"]), ("process.env", ["A=1"]), ("root.readonly", True), ("hostname", "other"), ("annotations.other", "1"),
    ],
)  # fmt: skip
def test_a_change_by_hand_needs_a_new_container(path: str, value: t.Any) -> None:
    own, _facts = split(changed(path, value))
    assert [key for key in own if "annotations" not in key or "other" in key] == own != []


def test_both_at_once() -> None:
    after = changed("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW"})
    assert split({**after, "hostname": "other"}) == (["config.hostname"], ["linux.seccomp"])


def test_configs_of_no_task_have_no_facts() -> None:
    before, after = ({**each, "annotations": {}} for each in (CONFIG, changed("linux.seccomp", {"defaultAction": "X"})))
    assert split(after, before) == (["config.linux.seccomp.defaultAction"], [])
