# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a record means that does not say everything."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._network_spec.record import NetworkRecord

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(("isolate", "isolated"), [(None, True), (True, True), (False, False)])
def test_a_record_of_an_older_release_is_isolated(isolate: bool | None, isolated: bool) -> None:
    assert NetworkRecord("web", isolate=isolate).isolated == isolated
