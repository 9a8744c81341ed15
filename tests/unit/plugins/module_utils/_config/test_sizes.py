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
        # Numbers of Go, which docker and podman take.
        (".5g", 2**29), (".25 GiB", 2**28), ("5.", 5), ("2.m", 2**21), ("1e9", 10**9), ("1E9", 10**9), ("1e3k", 1024000), ("1.5e+3mb", 1500 * 2**20),
        ("2e-1g", 214748364), ("+64m", 2**26), ("0.3MB", 314572), ("32.3 mb", 33869004), ("1.1g", 1181116006), (".5e1", 5), ("0e9", 0), (1e22 / 1e13, 10**9),
        (0.5e9, 5 * 10**8), ("8191.5p", 9222809086901354496),
    ],
)  # fmt: skip
def test_sizes(text: t.Any, size: int) -> None:
    assert sizes.parse_size(text, "memory") == size
    assert sizes.parse_limit(text, "memory") == (size or None)


@pytest.mark.parametrize(
    "text",
    [
        "", "m", "-1", "1x", "1,5g", "1g1", "-5m", "0x10", "1_000", "1.5.1m", "\u0661m",
        "1\u2003 g\u0000", str(2**63), "9" * 5000, "1" + "0" * 19 + "p",
        ".", ".g", "e9", ".e9", "1e", "1e+", "1e9999", "1e400", "1e19", "1e3.5", "1 e3", "e", "1.5.", "..5g", "++1", "+", "+-1", "0x1p3",
        "1bb", "1ib", "1kk", "1kbb", "1bib", "1.k5", "10e", "1e5e", ".9e20", "8192p",
        "ten", "10 m b", "nan", "inf", True, None, 1.5e300,
    ],
)  # fmt: skip
def test_what_is_no_size(text: t.Any) -> None:
    with pytest.raises(InvalidOption, match=r"^memory cannot be") as caught:
        sizes.parse_size(text, "memory")
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("text", ["0.5", 0.5, "0.9b", "0.0001k", "0.0000001m", "00.5", "0.00000001 MiB"])
def test_less_than_a_byte_is_not_no_limit(text: t.Any) -> None:
    for parse in (sizes.parse_size, sizes.parse_limit):
        with pytest.raises(InvalidOption, match=r"memory cannot be .*: that is less than one byte") as caught:
            parse(text, "memory")
        assert "A number alone means bytes" in caught.value.hint
    assert [sizes.parse_size(each, "x") for each in ("0.5k", "1.5", "0.001k", "0.0", "0.00g")] == [512, 1, 1, 0, 0]


@pytest.mark.parametrize("text", ["0", "0m", "-1", " unlimited", "Infinity", "00", 0, -1, "0.0g"])
def test_no_limit(text: t.Any) -> None:
    assert sizes.parse_limit(text, "memory") is None


@pytest.mark.parametrize("text", ["-2", "none", "max", "", "1 2"])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(InvalidOption, match="memory cannot be"):
        sizes.parse_limit(text, "memory")
