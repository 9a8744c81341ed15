# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._runtime import failure
from ansible_collections.longshore.oci.tests.unit import builders

RECORDED = [("runc", "1.1.5"), ("runc", "1.1.15"), ("crun", "1.8.1"), ("crun", "1.21"), ("crun", "1.28")]


@pytest.mark.pure
@pytest.mark.parametrize("name", ["state-gone", "create-no-program", "create-twice"])
@pytest.mark.parametrize(("program", "version"), RECORDED)
def test_the_log_says_what_stderr_says(program: str, version: str, name: str) -> None:
    """runc 1.1.15 logs a warning first where a container cannot be made."""
    log = builders.transcript(program, version, f"{name}.log.txt")
    assert failure.last_error(log) == builders.transcript(program, version, f"{name}.txt").strip()


@pytest.mark.pure
@pytest.mark.parametrize(("program", "version"), RECORDED)
def test_the_log_names_what_could_not_be_mounted(program: str, version: str) -> None:
    assert "/nowhere" in str(failure.last_error(builders.transcript(program, version, "create-bad-mount.log.txt")))


@pytest.mark.pure
@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", None),
        ("not JSON\n", None),
        ('{"level": "warning", "msg": "careful"}', None),
        ('{"level": "error", "msg": "first"}\n{"level": "error", "msg": "second"}', "second"),
        ('{"level": "error", "msg": "said"}\n{"level": "error", "msg": ""}', "said"),
        ('{"level": "error", "msg": "said"}\n{"level": "warning", "msg": "then this"}', "said"),
        ('{"level": "fatal", "msg": "said"}', "said"),
        ('{"level": "error"}', None),
        ('["error"]\n5\nnull\n{"level": "error", "msg": " said\\n"}\n{"level": "err', "said"),
    ],
)
def test_last_error(log: str, expected: str | None) -> None:
    assert failure.last_error(log) == expected
