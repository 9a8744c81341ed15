# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import capabilities
from ansible_collections.longshore.oci.plugins.module_utils._config.default_capabilities import DEFAULT

pytestmark = pytest.mark.pure


def test_the_defaults_are_capabilities() -> None:
    assert set(DEFAULT) < set(capabilities.CAPABILITIES)
