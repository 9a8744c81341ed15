# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a container: its conmon, or systemd."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import owner_conmon, owners
from ansible_collections.longshore.oci.plugins.module_utils._service import owner_systemd
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("definition", "has_unit", "by_systemd"),
    [
        (None, False, False),
        (builders.definition(), False, False),
        (builders.definition(service=True), False, True),
        # A unit whose record is gone, or is of a container that was none.
        (None, True, True),
        (builders.definition(), True, True),
    ],
)
def test_the_owner(definition: Definition | None, has_unit: bool, by_systemd: bool) -> None:
    found = owners.owner_of(definition, has_unit=has_unit)
    assert found is (owner_systemd if by_systemd else owner_conmon)
