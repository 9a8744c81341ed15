# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a log has the lines of this container only."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._conmon.log_end import log_end, messages
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition, LogDriver
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

_CREATED = "2026-11-27T06:00:00.500000Z"


def _end(path: pathlib.Path, text: str, *, created: str | None = _CREATED, driver: str = "k8s-file") -> list[str]:
    path.write_text(text, encoding="utf-8")
    definition = Definition("/bundle", log_driver=LogDriver(driver))
    return log_end(builders.record(definition=definition, log_path=str(path), created_at=created), lines=3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("2026-11-27T06:00:00.600000000+00:00 stdout F a\n", ["a"]),
        ("2026-11-27T06:00:00.400000000+00:00 stdout F of an earlier one\n", []),
        # The log has the local time, and more digits.
        ("2026-11-27T08:00:00.500000001+02:00 stdout F a\n2026-11-27T01:00:00.400000000-05:00 stdout F b\n", ["a"]),
        ("2026-11-27T08:00:00.499999999+02:00 stderr F earlier\n2026-11-27T01:00:01-05:00 stderr F b\n", ["b"]),
        # Lines in parts, of two streams at a time, and one without an end
        ("2026-11-27T06:00:01.0Z stdout P a\n2026-11-27T06:00:01.0Z stderr F x\n2026-11-27T06:00:01.0Z stdout F b\n", ["ab", "x"]),
        ("2026-11-27T06:00:01.0Z stdout P a\n", ["a"]),
        ("2026-11-27T06:00:01.0Z stdout F\n2026-11-27T06:00:01.0Z stdout F a b  c\n", ["", "a b  c"]),
        ("half a line\nnot-a-time stdout F a\n2026-99-27T06:00:01.0Z stdout F a\n", []),
        ("".join(f"2026-11-27T06:00:01.0Z stdout F {number}\n" for number in range(9)), ["6", "7", "8"]),
        (f"2026-11-27T06:00:01.0Z stdout F {'x' * 2000}\n", ["x" * 1000 + " [...]"]),
    ],
)  # fmt: skip
def test_the_lines_of_this_container(tmp_path: pathlib.Path, text: str, expected: list[str]) -> None:
    assert _end(tmp_path / "log", text) == expected


def test_a_log_without_times(tmp_path: pathlib.Path) -> None:
    assert _end(tmp_path / "log", "a\nb\n", driver="passthrough") == ["a", "b"]


def test_a_container_that_was_never_created_has_no_lines(tmp_path: pathlib.Path) -> None:
    assert _end(tmp_path / "log", "2026-11-27T06:00:01.0Z stdout F a\n", created=None) == []


def test_no_log() -> None:
    record = builders.record(definition=Definition("/b", log_driver=LogDriver.NONE), log_path=None, created_at=_CREATED)
    assert log_end(record, lines=3) == []
    gone = builders.record(log_path="/nowhere/log", created_at=_CREATED)
    assert log_end(gone, lines=3) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ('{"MESSAGE":"hello\\n","__CURSOR":"s=1"}\n{"MESSAGE":"again\\n"}\n', ["hello", "again"]),  # conmon 2.1.12
        ('{"MESSAGE":"a"}\n{"MESSAGE":"b"}\n', ["a", "b"]),
        ('{"MESSAGE":"a","CONTAINER_PARTIAL_MESSAGE":"true"}\n{"MESSAGE":"b\\n"}\n', ["ab"]),
        ('{"MESSAGE":"\\n"}\n{"MESSAGE":"x\\n"}\n', ["", "x"]),
        ('{"MESSAGE":[104,255,10]}\n{"MESSAGE":null}\n', ["h\ufffd", ""]),
        ('{"MESSAGE":"a\\n"}\n{"MESS', ["a"]),
    ],
)  # fmt: skip
def test_entries_of_the_journal(text: str, expected: list[str]) -> None:
    assert messages(text) == expected
