# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on the host and not as the records have it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._netlink.links import Link, Route
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import differences
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.differences import Observed
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.record import InterfaceRecord, NetworkRecord

pytestmark = pytest.mark.pure

ETH0 = InterfaceRecord(
    "eth0", "br0", False, ("10.78.1.2/24",), ("10.78.1.1",), ("10.78.1.1",), "02:00:00:00:00:01", 1500
)
WEB = NetworkRecord("web", (ETH0,))
BRIDGE = Link(1, "br0", "bridge", mtu=1500, up=True, addresses=("10.78.1.1/24",))
END = Link(2, "ls-1", "veth", mtu=1500, up=True, master=1, peer=3)
INSIDE = Link(3, "eth0", "veth", "02:00:00:00:00:01", 1500, up=True, peer=2, addresses=("10.78.1.2/24",))


def _seen(*more: Link, inside: Link | None = INSIDE, end: Link | None = END, bridge: Link = BRIDGE) -> Observed:
    host = {link.name: link for link in (bridge, end, *more) if link}
    return Observed(
        True, host, ["br0"], {"eth0": end} if end else {}, {"eth0": inside} if inside else {}, [],
    )  # fmt: skip


def test_the_addresses_of_a_bridge_are_gateways_with_the_length_of_their_network() -> None:
    foreign = ETH0._replace(bridge="br1")
    assert differences.bridge_addresses([WEB, NetworkRecord("other", (foreign,))], "br0") == {"10.78.1.1/24"}
    assert differences.bridge_addresses([NetworkRecord("web", (ETH0._replace(host_gateways=()),))], "br0") == set()


@pytest.mark.parametrize(
    ("link", "found"),
    [
        (BRIDGE, {}),
        (BRIDGE._replace(up=False), {"up": (False, True)}),
        (BRIDGE._replace(addresses=()), {"addresses": ([], ["10.78.1.1/24"])}),
        (BRIDGE._replace(addresses=("10.78.1.1/24", "10.9.9.9/24")), {}),  # of the administrator
        (BRIDGE._replace(settings={"net/ipv4/conf/br0/proxy_arp": "1"}),
         {"sysctls": ({"net.ipv4.conf.br0.proxy_arp": "1"}, {"net.ipv4.conf.br0.proxy_arp": "0"})}),
    ],
)  # fmt: skip
def test_a_bridge(link: Link, found: dict[str, t.Any]) -> None:
    assert differences.of_bridge("br0", [WEB], [WEB], link) == found


def test_an_address_that_no_record_has_any_more_goes() -> None:
    former = NetworkRecord("web", (ETH0._replace(addresses=("10.79.1.2/24",), host_gateways=("10.79.1.1",)),))
    link = BRIDGE._replace(addresses=("10.78.1.1/24", "10.79.1.1/24"))
    assert differences.of_bridge("br0", [former], [WEB], link) == {"addresses": ([*link.addresses], ["10.78.1.1/24"])}


@pytest.mark.parametrize(
    ("links", "found"),
    [
        ({}, {}),
        ({"inside": INSIDE._replace(mac="02:00:00:00:00:09")}, {"mac": ("02:00:00:00:00:09", "02:00:00:00:00:01")}),
        ({"inside": INSIDE._replace(mtu=1400)}, {"mtu": (1400, 1500)}),
        ({"end": END._replace(mtu=1400)}, {"mtu": (1400, 1500)}),
        ({"end": END._replace(up=False)}, {"up": (False, True)}),
        ({"end": END._replace(master=None)}, {"bridge": (None, "br0")}),
        ({"inside": INSIDE._replace(addresses=())}, {"addresses": ((), ["10.78.1.2/24"])}),
    ],
)
def test_an_interface(links: dict[str, Link], found: dict[str, t.Any]) -> None:
    assert differences.of_interface(ETH0, [WEB], _seen(**links)) == found


@pytest.mark.parametrize(
    "links",
    [{"inside": None}, {"end": None}, {"inside": INSIDE._replace(peer=9)}, {"inside": INSIDE._replace(kind="macvlan")}],
)
def test_an_interface_that_is_not_connected_is_a_new_one(links: dict[str, t.Any]) -> None:
    found = differences.of_interface(ETH0, [WEB], _seen(**links))
    assert found.keys() == {"addresses", "bridge", "mac", "mtu"}
    assert {before for before, _after in found.values()} == {None}


def test_a_bridge_is_unused_without_networks_and_without_other_ports() -> None:
    assert differences.unused_bridges([WEB], _seen()) == []
    assert differences.unused_bridges([], _seen()) == ["br0"]
    assert differences.unused_bridges([], _seen(Link(9, "eth9", master=1))) == []
    assert differences.unused_bridges([], _seen(Link(9, "br0.5", "vlan", peer=1))) == []
    assert _seen(Link(9, "docker0", "bridge", mtu=1400)).foreign_bridges == {"docker0": 1400}


def test_what_is_surplus_on_the_host() -> None:
    assert differences.surplus_interfaces(WEB, _seen()) == []
    assert differences.surplus_interfaces(NetworkRecord("web"), _seen()) == ["eth0"]


def test_only_routes_of_former_records_go() -> None:
    old, new, foreign = (Route(f"10.{number}.0.0/16", "10.78.1.1", "eth0") for number in (1, 2, 3))
    had, shall = NetworkRecord("web", routes=(old,)), NetworkRecord("web", routes=(new,))
    assert differences.changed_routes(shall, [had], [old, foreign]) == ([old], [new])
    assert differences.changed_routes(shall, [shall], [new, foreign]) == ([], [])
