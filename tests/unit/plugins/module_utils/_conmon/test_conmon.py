# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import versions
from ansible_collections.longshore.oci.plugins.module_utils._conmon import conmon
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("directory", "version"), [("2.1.6", "2.1.6"), ("2.1.12", "2.1.12"), ("2.2.1-from-source", "2.2.1")]
)
def test_parse_version(directory: str, version: str) -> None:
    assert versions.parse_program(builders.transcript("conmon", directory, "version.txt")) == ("conmon", version)


@pytest.mark.parametrize("text", ["", "conmon: nothing to do"])
def test_no_version(text: str) -> None:
    assert versions.parse_program(text) is None


@pytest.mark.parametrize(
    ("version", "option", "expected"),
    [
        ("2.0.2", "--log-tag", False),
        ("2.0.3", "--log-tag", True),
        ("2.0.3-dev", "--log-tag", True),
        ("2.0.4", "--persist-dir", False),
        ("2.0.5", "--persist-dir", True),
        ("2.0.16", "--exit-delay", False),
        ("2.0.17", "--exit-delay", True),
        ("2.0.21", "--sdnotify-socket", False),
        ("2.0.22", "--sdnotify-socket", True),
        ("2.0.22", "--full-attach", False),
        ("2.0.23", "--full-attach", True),
        # As numbers, not as text.
        ("2.1.12", "--full-attach", True),
        ("2.0.100", "--full-attach", True),
        ("10.0.0", "--full-attach", True),
        # Always been there.
        ("0.2", "--cid", True),
    ],
)
def test_has(version: str, option: str, expected: bool) -> None:
    assert conmon.has(version, option) is expected
