# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import pathlib

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


@pytest.mark.pure
@pytest.mark.parametrize("before", [0, 1000, 65536, 17 << 20])
def test_only_the_end_of_a_log_is_read(tmp_path: pathlib.Path, before: int) -> None:
    """A runtime with --debug writes much, and a file of more than 16 MiB could not be read."""
    path = tmp_path / "log"
    line = json.dumps({"level": "debug", "msg": "x" * 970}) + "\n"
    path.write_text(line * (before // 1000) + json.dumps({"level": "error", "msg": "y" * 100000}), encoding="ascii")
    assert failure.error_in(str(path)) == "y" * 100000
    assert failure.error_in(f"{tmp_path}/nowhere") is None
