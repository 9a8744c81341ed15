# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One shape of a diff for all modules."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._config import config_differences
from ansible_collections.longshore.oci.plugins.module_utils._module.diff import diff

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("pairs", "before", "after"),
    [
        ({}, {}, {}),
        ({"b": (1, 2), "a": ("x", "y")}, {"a": "x", "b": 1}, {"a": "y", "b": 2}),
        ({"new": (None, 0), "old": (False, None), "none": (None, None)}, {"old": False}, {"new": 0}),
        ({"status": ("absent", "running"), "config.hostname": ("a", "b")}, {"config.hostname": "a", "status": "absent"},
         {"config.hostname": "b", "status": "running"}),
    ],
)  # fmt: skip
def test_both_sides(pairs: dict[str, t.Any], before: dict[str, t.Any], after: dict[str, t.Any]) -> None:
    found = diff(pairs)
    assert json.dumps(found) == json.dumps({"before": before, "after": after})  # with the order


@pytest.mark.parametrize("path", ["process", "hooks.poststop.x", "definition"])
def test_no_secret_is_in_it(path: str) -> None:
    """Whatever holds the environment, and whether it comes, goes or changes."""
    key = "conmon_env" if path == "definition" else "env"

    def document(value: str | None) -> dict[str, t.Any]:
        inner: dict[str, t.Any] = {key: {} if value is None else {"PIN": value}}
        for name in reversed(path.split(".")):
            inner = {name: inner}
        return inner

    for old, new in ((None, "hunter2"), ("hunter2", None), ("hunter2", "other"), ("other", "hunter2")):
        found = diff(config_differences.differences(document(old), document(new)))
        assert "hunter2" not in json.dumps(found)
        assert f"{path}.{key}.PIN" in {**found["before"], **found["after"]}
