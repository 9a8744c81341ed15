# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adding a runtime takes: a file with its driver, its name in the list of drivers, what CRIU does for it, and transcripts."""

from __future__ import annotations

import ast
import glob
import json
import os

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import versions
from ansible_collections.longshore.oci.plugins.module_utils._criu import criu_support
from ansible_collections.longshore.oci.plugins.module_utils._runtime import drivers, runtime
from ansible_collections.longshore.oci.plugins.module_utils._runtime.driver import Driver
from ansible_collections.longshore.oci.tests.unit import sources

pytestmark = pytest.mark.pure

_ROOMS = os.path.dirname(os.path.dirname(drivers.__file__))
_FIXTURES = os.path.join(_ROOMS, *[os.pardir] * 2, "tests", "unit", "fixtures")
NAMES = list(drivers.DRIVERS)


@pytest.mark.parametrize("name", NAMES)
class TestWhatADriverNeeds:
    def test_a_file_of_its_name(self, name: str) -> None:
        assert os.path.exists(f"{_ROOMS}/_runtime/runtime_{name}.py")

    def test_what_criu_does_for_it(self, name: str) -> None:
        assert name in criu_support.SUPPORT

    def test_transcripts(self, name: str) -> None:
        """What its versions say of themselves, and what they keep of a container."""
        found = sorted(os.listdir(f"{_FIXTURES}/{name}"))
        assert found
        for version in found:
            with open(f"{_FIXTURES}/{name}/{version}/version.txt", encoding="utf-8") as stream:
                said = versions.parse_program(stream.read())
            assert said is not None
            assert said[0] == name
            assert versions.numbers(said[1]) == versions.numbers(version)
            with open(f"{_FIXTURES}/{name}/{version}/state-file.json", encoding="utf-8") as stream:
                assert runtime.parse_bundle(json.load(stream)) == "/srv/web"

    def test_files_that_tell_its_state(self, name: str) -> None:
        """Without both, its own command is asked in each task, and it needs no driver for that."""
        driver = drivers.driver_of(name)
        assert driver.created_file
        assert driver.state_file


def test_each_driver_is_in_the_order_of_preference() -> None:
    files = glob.glob(f"{_ROOMS}/_runtime/runtime_*.py")
    assert {os.path.basename(path) for path in files} == {f"runtime_{name}.py" for name in NAMES}


def test_a_runtime_without_a_driver_gets_the_careful_one() -> None:
    driver = drivers.driver_of("youki")
    assert driver == Driver("youki")
    assert (driver.created_file, driver.state_file, driver.reads_accounts) == (None, None, True)


def test_nothing_else_knows_a_runtime_by_its_name() -> None:
    known = {}
    for path in glob.glob(f"{_ROOMS}/**/*.py", recursive=True):
        own = {name for name in NAMES if os.path.basename(path) == f"runtime_{name}.py"}
        if any(name in sources.text(path) for name in NAMES):
            words = {node.value for node in sources.nodes(path) if isinstance(node, ast.Constant)}
            known[os.path.basename(path)] = words & {*NAMES} - own
    assert known["drivers.py"] == set()
    assert {name: words for name, words in known.items() if words} == {}


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("youki version 0.5.3\ncommit: 0.5.3-0-g1234567\n", ("youki", "0.5.3")),
        ("youki version: 0.5.7\ncommit: 0.5.7-1234567\nspec: 1.2.0\n", ("youki", "0.5.7")),
        ("runsc version release-20241217.0\nspec: 1.1.0\n", ("runsc", "release-20241217.0")),
        # A program that changes the config, and then becomes the runtime.
        ("NVIDIA Container Runtime version 1.17.3\ncommit: 12\nspec: 1.2.0\n\nrunc version 1.2.3\ncommit: 34\n", ("runc", "1.2.3")),
        ("kata-runtime  : 3.2.0\n   commit   : 12\n   OCI specs: 1.1.0+dev\n", None),
        ("../../etc version 1\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_what_programs_call_themselves(text: str, program: tuple[str, str] | None) -> None:
    assert versions.parse_program(text) == program
