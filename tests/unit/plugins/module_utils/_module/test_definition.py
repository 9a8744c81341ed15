# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a task as the fields of a definition."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._module import definition
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    CgroupManager,
    Definition,
    LogDriver,
    NetworkHelper,
)

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({}, {}),
        ({"bundle": None, "stdin": None, "state": "started"}, {}),
        ({"stdin": False, "exit_delay": 0}, {"stdin": False, "exit_delay": 0}),
        ({"log_size_max": "10M"}, {"log_size_max": 10 * 2**20}),
        ({"listen": ["80", "81"], "publish": []}, {"listen": ("80", "81"), "publish": ()}),
        ({"log_driver": "none"}, {"log_driver": LogDriver.NONE}),
        ({"network_helper": "pasta"}, {"network_helper": NetworkHelper.PASTA}),
        ({"cgroup_manager": "cgroupfs"}, {"cgroup_manager": CgroupManager.CGROUPFS}),
        ({"conmon_env": {"A": 1, "B": "yes"}}, {"conmon_env": {"A": "1", "B": "yes"}}),
    ],
)
def test_the_given_fields(params: dict[str, t.Any], fields: dict[str, t.Any]) -> None:
    found = definition.definition(params)
    assert found == fields
    # A choice equals its word, and the engine compares by identity.
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in fields.items()}


def test_a_size_that_is_none() -> None:
    with pytest.raises(InvalidOption, match=r"^log_size_max cannot be 'much'"):
        definition.definition({"log_size_max": "much"})


def test_each_field_has_an_option() -> None:
    options = {**definition.DEFINITION_ARGUMENTS, **definition.SERVICE_ARGUMENTS, **definition.NETWORK_ARGUMENTS}
    assert options.keys() == set(Definition._fields)
