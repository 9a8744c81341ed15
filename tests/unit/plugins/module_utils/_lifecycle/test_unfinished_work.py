# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.unfinished_work import completed
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Action, Desired, Plan, Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


def test_only_a_service_adds_to_a_plan() -> None:
    plan = Plan((), Status.RUNNING)
    for record in (None, builders.record(unit_pending=True)):
        observed = builders.observed(Status.RUNNING)._replace(record=record)
        assert completed(Desired("web"), observed, plan) is plan
    service = builders.record(definition=builders.definition(service=True), unit_pending=True)
    observed = builders.observed(Status.RUNNING)._replace(record=service)
    assert completed(Desired("web"), observed, plan).actions == (Action.UPDATE,)
