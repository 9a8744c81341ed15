# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import versions
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("program", "release", "found"),
    [("conmon", "2.1.6", "2.1.6"), ("crun", "1.21", "1.21"), ("crun", "1.28", "1.28"), ("runc", "1.1.5", "1.1.5+ds1")],
)
def test_what_programs_say(program: str, release: str, found: str) -> None:
    assert versions.parse_program(builders.transcript(program, release, "version.txt")) == (program, found)


@pytest.mark.parametrize("text", ["", "crun", "version 1.0", "usage: crun [OPTION...]\n", "crun version\n"])
def test_what_is_no_version(text: str) -> None:
    assert versions.parse_program(text) is None


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("1.1.5+ds1", (1, 1, 5)), ("2.1.12", (2, 1, 12)), ("1.21", (1, 21)), ("1.2.0-rc.1", (1, 2, 0)), ("0.1.2.3.4", (0, 1, 2)),
        ("unknown", ()),
    ],
)  # fmt: skip
def test_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert versions.numbers(version) == numbers


def test_versions_are_compared_as_numbers() -> None:
    assert versions.numbers("1.10") > versions.numbers("1.9.9")
    assert versions.numbers("1.8.1") < versions.numbers("1.8.1.1.1") or versions.numbers("1.8.1") == (1, 8, 1)
