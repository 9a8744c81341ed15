# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role container takes all options of the modules that it calls, and knows them by name."""

from __future__ import annotations

import os
import typing as t

import pytest
import yaml  # type: ignore[import-untyped]

from ansible_collections.longshore.oci.plugins.module_utils._module import bundle, container

pytestmark = pytest.mark.pure

_ROLE = os.path.join(os.path.dirname(__file__), "../../roles/container")
# What the role says itself.
_OWN = {"oci_bundle": {"path", "state"}, "oci_container": {"name", "bundle", "service", "restart_policy"}}
_MODULES = {"oci_bundle": bundle.ARGUMENTS, "oci_container": container.ARGUMENTS}


def _load(path: str) -> t.Any:
    with open(f"{_ROLE}/{path}", encoding="utf-8") as stream:
        return yaml.safe_load(stream)


@pytest.mark.parametrize(
    ("module", "task", "known"),
    [("oci_bundle", "Create the bundles", "__container_of_bundle"), ("oci_container", "Run the containers", "__container_of_container")],
)  # fmt: skip
def test_every_option_is_passed_on(module: str, task: str, known: str) -> None:
    given = next(each for each in _load("tasks/main.yml") if each["name"] == task)[f"longshore.oci.{module}"]
    passed = {name for name, value in given.items() if value == f"{{{{ __container_this.{name} | default(omit) }}}}"}
    assert passed == set(_load("vars/main.yml")[known])
    assert passed == set(_MODULES[module]) - _OWN[module]
    assert set(given) - passed <= _OWN[module]
