# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._state import timestamps

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1000000000.25, "2001-09-09T01:46:40.250000Z"),
        (1000000000.9999999, "2001-09-09T01:46:40.999999Z"),
    ],
)
def test_timestamp(seconds: float, text: str) -> None:
    assert timestamps.timestamp(seconds) == text


def test_timestamp_of_now() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", timestamps.timestamp())
