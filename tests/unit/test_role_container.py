# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role container takes all options of the modules that it calls, and knows them by name."""

from __future__ import annotations

import glob
import os
import re
import typing as t

import pytest
from ansible.module_utils.parsing.convert_bool import BOOLEANS_FALSE, BOOLEANS_TRUE

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._module import bundle, container
from ansible_collections.longshore.oci.plugins.module_utils._state.store import check_name
from ansible_collections.longshore.oci.tests.unit import role_vars

pytestmark = pytest.mark.pure

_ROLE = os.path.join(os.path.dirname(__file__), "../../roles/container")
# What the role says itself.
_OWN = {"oci_bundle": {"path", "state"}, "oci_container": {"name", "bundle", "service", "restart_policy"}}
_MODULES = {"oci_bundle": bundle.ARGUMENTS, "oci_container": container.ARGUMENTS}


@pytest.mark.parametrize(
    ("module", "task", "known"),
    [("oci_bundle", "Create the bundles", "__container_of_bundle"), ("oci_container", "Run the containers", "__container_of_container")],
)  # fmt: skip
def test_every_option_is_passed_on(module: str, task: str, known: str) -> None:
    given = next(each for each in role_vars.load("container", "tasks/main.yml") if each["name"] == task)[
        f"longshore.oci.{module}"
    ]
    passed = {
        name for name, value in given.items() if re.search(rf" __container_this\.{name} \| default\(.*omit", str(value))
    }
    assert passed == set(role_vars.load("container", "vars/main.yml")[known])
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
    names = [each["name"] for each in role_vars.load("container", "tasks/main.yml")]
    wanted = ["Create the bundles", "Remove the containers", "Remove their bundles", "Run the containers"]
    assert [name for name in names if name in wanted] == wanted


def test_the_words_of_each_key_are_those_of_the_modules() -> None:
    own = role_vars.load("container", "vars/main.yml")
    arguments = {**bundle.ARGUMENTS, **container.ARGUMENTS}
    assert own["__container_choices"] == {
        name: about["choices"] for name, about in arguments.items() if "choices" in about
    }
    switches = {name for name, about in arguments.items() if about["type"] == "bool"}
    assert set(own["__container_switches"]) == switches - {"service"} | {"keep_bundle"}


@pytest.mark.parametrize("role", ["container", "demo_bundle", "migrate", "runtime"])
def test_true_and_false_are_those_of_modules(role: str) -> None:
    """The filter bool has fewer words, and takes all others for false."""
    own = role_vars.load(role, "vars/main.yml")
    assert set(own[f"__{role}_true"]) - {"1.0"} == {each for each in BOOLEANS_TRUE if isinstance(each, str)}
    if role == "container":
        assert set(own["__container_false"]) == {each for each in BOOLEANS_FALSE if isinstance(each, str)}
    for path in filter(os.path.isfile, glob.glob(f"{_ROLE}/../{role}/*/*")):
        with open(path, encoding="utf-8") as stream:
            assert not re.search(rf"\b{role}_\w+ *\| *bool\b|keep_bundle.* bool\b", stream.read()), path


def _evaluate(name: str, *containers: dict[str, t.Any], **more: t.Any) -> t.Any:
    """Return a variable of the role as a task has it that is at the first container."""
    facts = {"service_mgr": "systemd"}
    return role_vars.evaluate("container", name, container_list=containers, item="web", ansible_facts=facts, **more)


@pytest.mark.impure
def test_the_names_are_those_of_the_engine() -> None:
    names = ["web", "+", "_a.b-c", "0", "a" * 200, "+" * 50]
    wrong = ["", "web/1", "-x", ".x", "web 1", "\u00e9", "a\n", "a" * 201, "+" * 51, "../a"]
    for name in names:
        check_name(name)
    for name in wrong:
        with pytest.raises(InvalidOption):
            check_name(name)
    given = [{"name": name} for name in [*names, *wrong, True, 10, None, ["a"]]]
    expected = ", ".join(f"'{name}'" for name in [*wrong, True, 10, None, ["a"], ""])
    assert _evaluate("__container_misnamed", *given, {"image": "oci:a"}) == expected


@pytest.mark.impure
@pytest.mark.parametrize(
    ("word", "of_all", "expected"),
    [
        ("y", "no", True), ("On", "no", True), (1, "no", True), ("T", "no", True), (True, "no", True), (None, "on", True),
        (None, None, True), ("n", "auto", False), (0, "auto", False), (False, "auto", False), ("auto", "no", True),
    ],
)  # fmt: skip
def test_the_words_for_a_service(word: t.Any, of_all: t.Any, expected: bool) -> None:
    assert _evaluate("__container_as_service", {"name": "web", "service": word}, container_service=of_all) is expected


@pytest.mark.impure
@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"state": None, "service": None, "keep_bundle": "Y", "restart_policy": False, "recreate": None, "tty": "t", "bundle": None},
            "",
        ),
        ({"healthcheck": {"argv": ["sleep", 1], "port": "8080", "host": "::1"}}, ""),
        ({"state": "Started"}, "state is 'Started', not one of present, started, "),
        ({"restart_policy": True, "tty": "maybe"}, "restart_policy is 'True', not one of no, on-failure, always; tty is 'maybe', not true"),
        ({"memori": None}, "keys that are none of .*: memori"),
        ({"argv": "a b"}, r"text where a list of words belongs: argv\. Write a list, or use command$"),
        ({"exit_command": "a b"}, r"text where a list of words belongs: exit_command\. Write a list$"),
    ],
)  # fmt: skip
def test_the_faults_of_a_container(given: dict[str, t.Any], says: str) -> None:
    fault = _evaluate("__container_fault", {"name": "web", "image": "oci:a", **given})
    assert re.search(says, fault) if says else fault == ""
