# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stop settings of scopes. That systemd has them is tested on hosts with it (oci_container, scopes)."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._config import config, stop_contract
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

SIGNAL, TIMEOUT = "org.systemd.property.KillSignal", "org.systemd.property.TimeoutStopUSec"
# stop signal and timeout, and the properties
CASES = [
    (15, 10, "15", "uint64 10000000"),
    (2, 3, "2", "uint64 3000000"),
    (37, 0.5, "37", "uint64 500000"),
    (10, 86400, "10", "uint64 86400000000"),
    # systemd takes 0 for no limit. Without a grace, the container is killed.
    (15, 0, "9", "uint64 1"),
    (2, 1e-9, "2", "uint64 1"),
    # More than the 64 bits of systemd, of a record of an earlier release.
    (15, 1e30, "15", f"uint64 {10**18}"),
    (15, float("inf"), "15", f"uint64 {10**18}"),
]


@pytest.mark.parametrize(("number", "seconds", "signal", "limit"), CASES)
def test_the_properties_of_the_scope(
    tmp_path: pathlib.Path, number: int, seconds: float, signal: str, limit: str
) -> None:
    paths = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run").paths("web")
    record = builders.record(cgroup_manager="systemd", stop_signal=number, stop_timeout=seconds)
    for given in (
        {},
        {"annotations": None},
        {"annotations": {"a": "b"}},
        {"annotations": {SIGNAL: "1", TIMEOUT: "x", "a": "b"}},
    ):
        found = config.effective(builders.config(**given), record, paths)["annotations"]
        kept = {"a": "b"} if (given.get("annotations") or {}).get("a") else {}
        assert found == {SIGNAL: signal, TIMEOUT: limit, **kept}
    # Without systemd, there is no scope.
    plain = config.effective(
        builders.config(annotations={SIGNAL: "1", "a": "b"}), record._replace(cgroup_manager=builders.record().cgroup_manager), paths
    )  # fmt: skip
    assert plain["annotations"] == {"a": "b"}


ODD: list[t.Any] = [
    {},
    {"annotations": None},
    {"annotations": {}},
    {"annotations": {"org.systemd.property.Before": "['a.service']"}},
]


@pytest.mark.parametrize("given", ODD)
def test_what_it_does_not_touch(given: dict[str, t.Any]) -> None:
    assert stop_contract.without(given) == given


def test_other_settings_are_no_other_config() -> None:
    """Neither for the digest nor for the comparison, so that a container of an earlier release stays."""
    plain = builders.config(annotations={"a": "b"})
    record = builders.record(cgroup_manager="systemd", stop_timeout=3)
    contract = stop_contract.after_service(stop_contract.applied(plain, record), "longshore-web.service")
    assert contract["annotations"]["org.systemd.property.Before"] == "['longshore-web.service']"
    assert stop_contract.without(contract) == plain
    assert config.digest(contract) == config.digest(plain)


def test_the_order_of_a_user_stays() -> None:
    given = {"annotations": {"org.systemd.property.Before": "['mine.service']"}}
    assert stop_contract.after_service(given, "longshore-web.service") == given
