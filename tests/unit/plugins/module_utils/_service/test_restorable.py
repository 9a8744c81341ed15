# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import WrongState
from ansible_collections.longshore.oci.plugins.module_utils._service.restorable import check_restorable
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition, Observed, Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

SERVICE = builders.record(definition=Definition("/srv/web", service=True))


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.ABSENT])
def test_a_service_cannot_be_restored(status: Status) -> None:
    with pytest.raises(
        WrongState, match=r"The container web is a service, and systemd cannot restore .* Use another name\."
    ):
        check_restorable(Observed("web", status, SERVICE), "Use another name.")


@pytest.mark.parametrize(
    "seen",
    [
        Observed("web", Status.ABSENT),
        Observed("web", Status.ABSENT, SERVICE),
        Observed("web", Status.RUNNING, builders.record()),
    ],
)
def test_others_can(seen: Observed) -> None:
    check_restorable(seen, "Use another name.")
