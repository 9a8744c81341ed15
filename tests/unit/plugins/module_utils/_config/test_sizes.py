# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes, as docker and podman write them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._config import sizes

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("4096", 4096), (4096, 4096), ("1k", 1024), ("64m", 2**26), ("64 MB", 2**26), ("1.5g", 3 * 2**29), ("2GiB", 2**31), ("1t", 2**40),
        ("1p", 2**50), (" 10M\n", 10 * 2**20), ("10mb", 10 * 2**20), ("9007199254740993", 2**53 + 1), (str(2**63 - 1), 2**63 - 1), ("007", 7),
    ],
)  # fmt: skip
def test_sizes(text: t.Any, size: int) -> None:
    assert sizes.parse_size(text, "memory") == size
    assert sizes.parse_limit(text, "memory") == (size or None)


@pytest.mark.parametrize(
    "text",
    [
        "", "m", "-1", "1x", "1,5g", "1g1", "-5m", "+1", "1e3", "0x10", "1_000", ".5g", "5.", "1.5.1m", "\u0661m",
        "1\u2003 g\u0000", str(2**63), "9" * 5000, "1" + "0" * 19 + "p",
        "ten", "10 m b", "nan", "inf", True, None, 1.5e300,
    ],
)  # fmt: skip
def test_what_is_no_size(text: t.Any) -> None:
    with pytest.raises(InvalidOption, match=r"^memory cannot be") as caught:
        sizes.parse_size(text, "memory")
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("text", ["0", "0m", "-1", " unlimited", "Infinity", "00", 0, -1, "0.0g"])
def test_no_limit(text: t.Any) -> None:
    assert sizes.parse_limit(text, "memory") is None


@pytest.mark.parametrize("text", ["-2", "none", "max", "", "1 2"])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(InvalidOption, match="memory cannot be"):
        sizes.parse_limit(text, "memory")
