# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What results show of secret options, and which texts are masked where another program speaks."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._module import secret_values
from ansible_collections.longshore.oci.plugins.module_utils._module.secret_values import HIDDEN

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("password", "secret", HIDDEN),
        ("password", None, HIDDEN),
        ("conmon_env", {"TOKEN": "secret"}, {"TOKEN": HIDDEN}),
        ("hooks", {"prestart": [{"path": "/x", "env": ["A=secret", "B", None]}]},
         {"prestart": [{"path": "/x", "env": [f"A={HIDDEN}", HIDDEN, None]}]}),
        ("spec", {"process": {"env": {"A": "secret"}}, "hostname": "A=b"},
         {"process": {"env": {"A": HIDDEN}}, "hostname": "A=b"}),
    ],
)  # fmt: skip
def test_what_is_shown(name: str, value: t.Any, shown: t.Any) -> None:
    assert secret_values.hidden(name, value) == shown


def test_leaves() -> None:
    assert secret_values.leaves({"a": [1, "two"], "b": {"c": True}}) == {"1", "two", "True"}


@pytest.mark.parametrize(
    ("params", "texts"),
    [
        ({}, set()),
        ({"password": None}, set()),
        ({"password": "abc"}, set()),  # a part of too many words
        ({"password": "abcd"}, {"abcd"}),
        ({"password": ["first", {"x": "second"}]}, {"first", "second"}),
        # A log is a list of lines.
        ({"password": "short\nlong enough"}, {"short\nlong enough", "long enough"}),
        ({"hooks": {"prestart": [{"path": "/long/path", "env": ["TOKEN=secret", "alone", None]}]}}, {"secret", "alone"}),
        ({"hooks": {"prestart": [{"env": {"TOKEN": "secret"}}]}}, {"secret"}),
        ({"other": "not named"}, set()),
    ],
)  # fmt: skip
def test_what_is_masked(params: dict[str, t.Any], texts: set[str]) -> None:
    assert secret_values.masked(params, ["password", "hooks"]) == texts
