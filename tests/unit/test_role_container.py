# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role container takes all options of the modules that it calls, and knows them by name."""

from __future__ import annotations

import glob
import os
import re
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._module import bundle, container
from ansible_collections.longshore.oci.tests.unit import yaml_text

pytestmark = pytest.mark.pure

_ROLE = os.path.join(os.path.dirname(__file__), "../../roles/container")
# What the role says itself.
_OWN = {"oci_bundle": {"path", "state"}, "oci_container": {"name", "bundle", "service", "restart_policy"}}
_MODULES = {"oci_bundle": bundle.ARGUMENTS, "oci_container": container.ARGUMENTS}


def _load(path: str) -> t.Any:
    with open(f"{_ROLE}/{path}", encoding="utf-8") as stream:
        return yaml_text.load(stream)


@pytest.mark.parametrize(
    ("module", "task", "known"),
    [("oci_bundle", "Create the bundles", "__container_of_bundle"), ("oci_container", "Run the containers", "__container_of_container")],
)  # fmt: skip
def test_every_option_is_passed_on(module: str, task: str, known: str) -> None:
    given = next(each for each in _load("tasks/main.yml") if each["name"] == task)[f"longshore.oci.{module}"]
    passed = {
        name for name, value in given.items() if re.search(rf" __container_this\.{name} \| default\(.*omit", str(value))
    }
    assert passed == set(_load("vars/main.yml")[known])
    assert passed == set(_MODULES[module]) - _OWN[module]
    assert set(given) - passed <= _OWN[module]


def test_the_order_of_the_list_is_kept() -> None:
    """Filters for sets have another order in each run, so containers would be started in that order."""
    files = glob.glob(f"{_ROLE}/*/*.yml")
    assert len(files) > 5
    for path in files:
        with open(path, encoding="utf-8") as stream:
            assert not re.search(r"\|\s*(difference|intersect|union|symmetric_difference)\b", stream.read()), path


def test_nothing_is_removed_before_all_new_bundles_are_there() -> None:
    names = [each["name"] for each in _load("tasks/main.yml")]
    wanted = ["Create the bundles", "Remove the containers", "Remove their bundles", "Run the containers"]
    assert [name for name in names if name in wanted] == wanted
