# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs have said of themselves, in the run directory."""

from __future__ import annotations

import json
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._host import remembered

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"key": 1}'])
def test_a_missing_or_damaged_file_says_nothing(tmp_path: pathlib.Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "programs.json").write_text(text, encoding="ascii")
    assert remembered.load(str(tmp_path)) == {}
    assert remembered.runtimes(str(tmp_path)) == {}


def test_runtimes_by_the_name_that_they_report(tmp_path: pathlib.Path) -> None:
    known = {
        "/usr/sbin/runc 1 2 3": "1.1.5", "/usr/sbin/runc 1 2 3 name": "runc", "/opt/a name/youki 4 5 6 name": "youki", "odd": 7,
    }  # fmt: skip
    (tmp_path / "programs.json").write_text(json.dumps(known), encoding="ascii")
    assert remembered.runtimes(str(tmp_path)) == {"runc": "/usr/sbin/runc", "youki": "/opt/a name/youki"}
    assert remembered.load(str(tmp_path)) == {key: value for key, value in known.items() if key != "odd"}
