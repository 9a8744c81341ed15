# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the role migrate reads its variables."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.tests.unit import role_vars


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["10.0.0.1", "2001:db8::/32"], ["10.0.0.1", "2001:db8::/32"]),
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("10.0.0.*, 10.1.0.1,", ["10.0.0.*", "10.1.0.1"]),
        (["10.0.0.1,10.0.0.2"], ["10.0.0.1", "10.0.0.2"]),
        ("", []),
        (None, []),
    ],
)
def test_the_addresses_of_the_source_may_be_text(given: t.Any, expected: list[str]) -> None:
    assert role_vars.evaluate("migrate", "__migrate_from", migrate_from=given) == expected


def test_no_addresses() -> None:
    assert role_vars.evaluate("migrate", "__migrate_from") == []


@pytest.mark.parametrize("given", [None, "", []])
def test_no_health_check(given: t.Any) -> None:
    assert role_vars.evaluate("migrate", "__migrate_healthcheck", migrate_healthcheck=given) == []
