# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import MissingPrerequisite, WrongState
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import dump_checks
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.plan import Goal
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.request import Request
from ansible_collections.longshore.oci.plugins.module_utils._criu.criu import Options
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""), ({"reserve_ports": ("80",)}, ""), ({"listen": ("80",)}, r"its sockets \(listen\)"),
        ({"network_helper": "pasta"}, "the network device that pasta holds"), ({"network_helper": "slirp4netns"}, "that slirp4netns holds"),
    ],
)  # fmt: skip
def test_parts_that_criu_cannot_write(changes: dict[str, t.Any], says: str) -> None:
    record = builders.record(definition=builders.definition(**changes))
    if not says:
        dump_checks.check_parts("web", record)
        return
    with pytest.raises(WrongState, match=f"^The container web cannot be checkpointed: .*{says}"):
        dump_checks.check_parts("web", record)


@pytest.mark.parametrize(
    ("status", "leave_running", "rootfs", "version", "refused"),
    [
        (Status.RUNNING, None, False, "3.17.1", False), (Status.RUNNING, True, False, "3.17.1", False), (Status.RUNNING, None, True, "3.17.1", False),
        (Status.RUNNING, True, True, "3.17.1", True), (Status.PAUSED, None, False, "3.17.1", True), (Status.PAUSED, None, False, "4.0", True),
        (Status.PAUSED, None, False, "4.1", False), (Status.RUNNING, True, True, "4.1.1", False), (Status.PAUSED, True, True, "10.0", False),
    ],
)  # fmt: skip
def test_what_is_frozen_needs_a_new_criu(
    status: Status, leave_running: bool | None, rootfs: bool, version: str, refused: bool
) -> None:
    request = Request(
        "web", Goal.CHECKPOINTED, Options(leave_running=leave_running), archive="/x", include_rootfs=rootfs
    )
    if not refused:
        dump_checks.check_frozen(request, status, version)
        return
    with pytest.raises(MissingPrerequisite, match=f"needs criu 4.1 or newer. This host has {version}"):
        dump_checks.check_frozen(request, status, version)
