# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sysctls the networks of a host need."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._network import forwarding
from ansible_collections.longshore.oci.plugins.module_utils._network.forwarding import IPV4, IPV6
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.publishing import publish
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.record import InterfaceRecord, NetworkRecord

pytestmark = pytest.mark.pure

ETH0 = InterfaceRecord(
    "eth0", "br0", False, ("10.78.1.2/24", "fd00::2/64"), ("10.78.1.1", "fd00::1"), ("10.78.1.1", "fd00::1"), "02:00:00:00:00:01", 1500
)  # fmt: skip
ONLY4 = ETH0._replace(host_gateways=("10.78.1.1",))
PLAIN = {"masquerade": False, "isolate": True, "routed": False}
LOCALNET = "net/ipv4/conf/br0/route_localnet"


@pytest.mark.parametrize(
    ("interface", "changes", "needed"),
    [
        (ETH0, {}, {IPV4, IPV6}),
        (ONLY4, {}, {IPV4}),
        (ETH0._replace(host_gateways=()), {}, set()),
        (ETH0, PLAIN, set()),
        (ETH0, {**PLAIN, "isolate": False}, {IPV4, IPV6}),
        (ETH0, {**PLAIN, "routed": True}, {IPV4, IPV6}),
        (ONLY4, {**PLAIN, "publish": (publish("8080:80"),)}, {IPV4, LOCALNET}),
        (ONLY4._replace(foreign=True), {**PLAIN, "publish": (publish("8080:80"),)}, {IPV4}),
    ],
)
def test_what_is_needed(interface: InterfaceRecord, changes: dict[str, t.Any], needed: set[str]) -> None:
    record = NetworkRecord("web", (interface,), **changes)
    assert forwarding.needed([record], ["br0"]) == dict.fromkeys(needed, "1")
    assert LOCALNET not in forwarding.needed([record], [])


@pytest.mark.parametrize(
    ("path", "main"),
    [
        (IPV4, IPV4),
        (IPV6, IPV6),
        ("net/ipv4/conf/all/accept_redirects", IPV4),
        ("net/ipv6/conf/eth0/accept_ra", IPV6),
        (LOCALNET, LOCALNET),
    ],
)
def test_what_a_sysctl_was_changed_with(path: str, main: str) -> None:
    assert forwarding.main_of(path) == main
    assert forwarding.is_kept(path, {main: "1"})
    assert not forwarding.is_kept(path, {})
