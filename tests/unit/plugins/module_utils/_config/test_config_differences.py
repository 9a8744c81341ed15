# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences of two configs by path."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._config import config_differences

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({}, {}, {}),
        ({"hostname": "a"}, {"hostname": "a"}, {}),
        ({"hostname": "a"}, {}, {"hostname": ("a", None)}),
        ({"root": {"readonly": 1}}, {"root": {"readonly": True}}, {"root.readonly": (1, True)}),
        ({"process": {"args": ["x"]}}, {"process": {"args": ["x", "y"]}}, {"process.args[1]": (None, "y")}),
        # Empty is the same as absent.
        ({"linux": {}}, {"mounts": []}, {}),
        ({"process": {"env": ["A=1", "B=2"]}}, {"process": {"env": ["B=2", "C=3", "A=4"]}},
         {"process.env.A": ("(hidden)", "(hidden, new)"), "process.env.C": (None, "(hidden)")}),
        ({"process": {"env": ["A=1"]}}, {}, {"process.env.A": ("(hidden)", None)}),
        ({"hooks": {"env": {"A": "1"}}}, {"hooks": {"env": {"A": "2"}}},
         {"hooks.env.A": ("(hidden)", "(hidden, new)")}),
    ],
)  # fmt: skip
def test_differences(before: dict[str, t.Any], after: dict[str, t.Any], found: dict[str, t.Any]) -> None:
    assert config_differences.differences(before, after) == found
