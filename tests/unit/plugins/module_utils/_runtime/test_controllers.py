# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which limits need a controller that a host may not have."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._runtime import controllers

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (None, []), ({}, []), ({"devices": [{"allow": False}]}, []), ({"memory": None, "cpu": {}}, []),
        ({"memory": {"limit": 1 << 20}}, ["memory"]), ({"memory": {"reservation": 1}}, ["memory"]),
        ({"memory": {"limit": -1, "swap": -1}}, []), ({"memory": {"limit": 0, "swappiness": 60}}, []),
        ({"cpu": {"quota": 1000, "period": 100000}}, ["cpu"]), ({"cpu": {"shares": 2}}, ["cpu"]),
        ({"cpu": {"cpus": "0-3"}}, ["cpuset"]), ({"cpu": {"mems": "0", "shares": 4}}, ["cpu", "cpuset"]),
        ({"cpu": {"period": 100000, "cpus": ""}}, []),
        ({"pids": {"limit": 5}}, ["pids"]), ({"pids": {"limit": -1}}, []),
        ({"blockIO": {"weight": 10}}, ["io"]), ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]}}, ["io"]),
        ({"blockIO": {"throttleReadBpsDevice": [], "weight": 0}}, []),
    ],
)  # fmt: skip
def test_the_limits_that_need_one(resources: t.Any, expected: list[str]) -> None:
    config = {"linux": {"resources": resources}}
    assert [name for name, _options in controllers.lacking(config, set())] == expected
    assert controllers.lacking(config, {"memory", "cpu", "cpuset", "pids", "io"}) == []
    assert controllers.lacking(config, None) == []


def test_a_config_of_another_program() -> None:
    assert controllers.lacking({}, set()) == []
    assert controllers.lacking({"linux": None}, set()) == []


@pytest.mark.parametrize(
    ("uid", "says", "hint"), [(0, "of this host", "cgroup_enable=memory"), (7, "of the user 7", "Delegate=memory")]
)
def test_the_message(uid: int, says: str, hint: str) -> None:
    with pytest.raises(MissingPrerequisite) as caught:
        controllers.check({"linux": {"resources": {"memory": {"limit": 1 << 20}}}}, uid, {"pids"})
    assert caught.value.message == f"The cgroups {says} have no memory controller, so memory cannot be limited."
    assert hint in caught.value.hint
