# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks as they are."""

from __future__ import annotations

import subprocess

from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.tests.unit.network_host import POOL, WEB, Host, host

__all__ = ["host"]  # the fixture


def test_what_is_in_the_place_of_one_is_told(host: Host) -> None:
    assert host.describe(WEB).outcome.record is None
    host.converge(WEB, POOL)
    subprocess.run(["ip", "-n", WEB, "link", "delete", "eth0"], check=True)
    subprocess.run(["ip", "-n", WEB, "link", "add", "eth0", "type", "veth", "peer", "name", "other"], check=True)
    assert "has an interface eth0 that Longshore has not created" in host.describe(WEB).conflict
    netns.remove(WEB)
    netns.create(WEB)
    known = host.describe(WEB)
    assert "Longshore has not created it" in known.conflict
    assert known.outcome.record is not None
    assert (known.outcome.plan.actions, known.outcome.warnings, known.users) == ((), (), [])
