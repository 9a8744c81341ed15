# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks are made of: addresses from pools, gateways, routes, and what cannot be."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict, InvalidOption, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._netlink.links import Route
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import (
    Interface,
    Request,
    Surroundings,
    resolve,
)
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.record import NetworkRecord

pytestmark = pytest.mark.pure

POOL = Interface(subnet=("10.78.1.0/29", "fd00:78::/64"))


def _made(
    name: str, *interfaces: Interface, others: t.Mapping[str, NetworkRecord] | None = None, **more: t.Any
) -> NetworkRecord:
    return resolve(Request(name, interfaces=interfaces, **more), Surroundings(others or {}, machine="machine"), None)


def test_a_pool_gives_out_the_next_and_keeps_it() -> None:
    records: dict[str, NetworkRecord] = {}
    for name in ("a", "b", "c"):
        records[name] = _made(name, POOL, others=records)
    given = [record.interfaces[0].addresses for record in records.values()]
    assert given == [(f"10.78.1.{number}/29", f"fd00:78::{number}/64") for number in (2, 3, 4)]
    assert records["a"].interfaces[0].gateways == ("10.78.1.1", "fd00:78::1")
    without = {"c": records["c"]}
    request = Request("b", interfaces=(POOL,))
    assert resolve(request, Surroundings(without, machine="machine"), records["b"]) == records["b"]
    assert _made("d", POOL, others=without).interfaces[0].addresses[0] == "10.78.1.2/29"


def test_a_pool_can_be_full() -> None:
    records: dict[str, NetworkRecord] = {}
    for name in "abcde":
        records[name] = _made(name, POOL, others=records)
    with pytest.raises(LongshoreError, match=r"No address of the subnet 10\.78\.1\.0/29 is free"):
        _made("f", POOL, others=records)


def test_the_first_interface_with_a_gateway_has_the_default_route() -> None:
    second = Interface("eth1", "br1", ("10.78.2.2/24",), gateway=("10.78.2.1",))
    third = Interface("eth2", "br2", subnet=("10.78.3.0/24",))
    record = _made("a", POOL._replace(subnet=("fd00:78::/64",)), second, third, routes=(("10.9.0.0/16", "10.78.3.9"),))
    assert record.routes == (
        Route("0.0.0.0/0", "10.78.2.1", "eth1"),
        Route("10.9.0.0/16", "10.78.3.9", "eth2"),
        Route("::/0", "fd00:78::1", "eth0"),
    )
    own = _made("a", POOL, routes=(("default", "10.78.1.5"),))
    assert own.routes[0] == Route("0.0.0.0/0", "10.78.1.5", "eth0")
    assert len(own.routes) == 2


@pytest.mark.parametrize(
    ("interface", "says"),
    [
        (Interface(address=("10.78.1.2",)), "has no prefix length"),
        (Interface(address=("10.78.1.2/x",)), "is not an address"),
        (Interface(address=("fe80::1%eth0/64",)), "is not an IP address"),
        (Interface(address=("10.78.1.0/24",)), "is not an address for a host"),
        (Interface(address=("10.78.1.255/24",)), "is not an address for a host"),
        (Interface(address=("10.78.1.1/24",), gateway=("10.78.1.1",)), "also that of its gateway"),
        (Interface(address=("10.78.1.1",), subnet=("10.78.1.0/24",)), "also that of its gateway"),
        (Interface(address=("10.78.9.2/24",), subnet=("10.78.1.0/24",)), "not in the subnet"),
        (Interface(address=("10.78.1.2/24",), gateway=("10.78.2.1",)), "is in no network of its addresses"),
        (Interface(address=("10.78.1.2/24",), gateway=("10.78.1.255",)), "is not an address for a host"),
        (Interface(address=("10.78.1.2/24", "10.78.1.2/25")), "is given twice"),
        *(
            (Interface(address=(text,)), "is not an address for a host")
            for text in (
                "127.0.0.5/8",
                "224.0.0.5/32",
                "255.255.255.255/32",
                "0.0.0.0/32",
                "10.78.1.5/0",
                "::1/128",
                "::/128",
                "ff02::5/128",
                "fe80::5/64",
                "::ffff:10.1.1.1/96",
                "::10.1.1.2/96",
            )
        ),
        *(
            (Interface(subnet=(text,)), "is not an address for a host")
            for text in ("fe80::/64", "127.5.0.0/24", "0.0.0.0/8")
        ),
        (Interface(subnet=("fe80::%eth0/64",)), "is not an IP address"),
        (Interface(address=("fd00::5",)), "Write fd00::5/64"),
        (Interface(subnet=("10.78.1.1/24",)), "is not a subnet"),
        (Interface(subnet=("10.78.1.0/31",)), "too small"),
        (Interface(subnet=("10.78.1.0/24", "10.78.2.0/24")), "one subnet of IPv4"),
        (Interface(name="../x"), "cannot be the name"),
        (Interface(bridge="default"), "cannot be the name"),
        (Interface(mac="01:00:00:00:00:01"), "is not the MAC address"),
        (Interface(mtu=1), "mtu"),
        (Interface(subnet=("fd00::/64",), mtu=1200), "too small for IPv6"),
    ],
)
def test_what_cannot_be_an_interface_is_refused(interface: Interface, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        _made("a", interface)


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        ([("10.9.0.0/16", "10.78.2.1")], "is in no network of the addresses"),
        ([("10.9.0.1/16", "10.78.1.3")], "cannot lead to"),
        ([("fd09::/64", "10.78.1.3")], "one is IPv4"),
        ([("10.78.1.0/29", "10.78.1.3")], "is directly connected"),
        ([("10.9.0.0/16", "10.78.1.2")], "is its own address"),
        ([("10.9.0.0/16", "10.78.1.7")], "is not an address for a host"),
        ([("127.0.0.0/8", "10.78.1.3")], "has a special meaning"),
        ([("224.0.0.0/4", "10.78.1.3")], "has a special meaning"),
        ([("10.9.0.0/16", "gateway")], "is not an IP address"),
        ([("default", "10.78.1.3"), ("0.0.0.0/0", "10.78.1.4")], "two routes"),
    ],
)
def test_what_cannot_be_a_route_is_refused(routes: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        _made("a", POOL, routes=tuple(routes))


def test_what_another_network_has_is_refused() -> None:
    first = {"a": _made("a", POOL._replace(mac="02:00:00:00:00:01"), publish=("8000-8010:80-90",))}
    for interface, says in (
        (Interface(address=("10.78.1.2/29",)), "is in use by the network a"),
        (Interface(address=("10.78.1.1/29",)), "is in use by the gateway of the network a"),
        (Interface(address=("10.78.1.3/29",), gateway=("10.78.1.2",)), "is the address of the network a"),
        (POOL._replace(mac="02:00:00:00:00:01"), "The mac .* is in use by the network a"),
        (Interface(bridge="br1", subnet=("10.78.0.0/16",)), "overlaps with the network a on longshore0"),
    ):
        with pytest.raises(Conflict, match=says):
            _made("b", interface, others=first)
    with pytest.raises(Conflict, match="published by the network a"):
        _made("b", POOL, others=first, publish=("8005:80",))
    _made("b", POOL, others=first, publish=("8005:80/udp",))
    with pytest.raises(Conflict, match="published by the same network"):
        _made("b", POOL, publish=("80:80", "80:81"))
    with pytest.raises(InvalidOption, match="cannot be published without an address"):
        _made("b", Interface(address=("10.78.1.3/29",)), publish=("9000:80",))


def test_two_interfaces_of_one_network_are_kept_apart() -> None:
    with pytest.raises(Conflict, match="overlaps with"):
        _made("a", POOL, Interface("eth1", "br1", ("10.78.1.6/29",), gateway=("10.78.1.5",)))
    with pytest.raises(Conflict, match="in use by the interface eth0"):
        _made("a", POOL._replace(mac="02:00:00:00:00:01"), Interface("eth1", mac="02:00:00:00:00:01"))
    with pytest.raises(InvalidOption, match="two interfaces"):
        _made("a", POOL, POOL)


def test_a_bridge_of_somebody_else_has_its_own_gateway() -> None:
    around = Surroundings(links={"br0": ("192.0.2.7/24",), "eth0": ("10.78.0.9/16",)}, foreign={"br0": 9000})
    wanted = Interface(bridge="br0", address=("192.0.2.9/24",), gateway=("192.0.2.1",))
    request = Request("a", interfaces=(wanted,))
    record = resolve(request, around, None)
    assert record.interfaces[0].mtu == 9000
    assert (record.interfaces[0].gateways, record.interfaces[0].host_gateways) == (("192.0.2.1",), ())
    with pytest.raises(InvalidOption, match="must be an address of the bridge"):
        resolve(request._replace(publish=("80:80",)), around, None)
    through = request._replace(interfaces=(wanted._replace(gateway=("192.0.2.7",)),), publish=("80:80",))
    assert resolve(through, around, None).interfaces[0].host_gateways == ("192.0.2.7",)
    with pytest.raises(InvalidOption, match="br0, which Longshore has not made"):
        resolve(through._replace(publish=("127.0.0.1:80:80",)), around, None)
    with pytest.raises(Conflict, match=r"192\.0\.2\.7 is in use by the bridge br0"):
        resolve(request._replace(interfaces=(wanted._replace(address=("192.0.2.7/24",)),)), around, None)
    with pytest.raises(InvalidOption, match="less than 9000, that of br0"):
        resolve(request._replace(interfaces=(wanted._replace(mtu=1500),)), around, None)
    with pytest.raises(Conflict, match="The bridge br0, which belongs to another program, does not exist"):
        resolve(request, Surroundings(), record)
    with pytest.raises(InvalidOption, match="eth0 is an interface of this host, but not a bridge"):
        resolve(request._replace(interfaces=(Interface(bridge="eth0"),)), around, None)
    with pytest.raises(Conflict, match=r"overlaps with 10\.78\.0\.9/16 on eth0 of this host"):
        resolve(request._replace(interfaces=(POOL,)), around, None)


def test_a_range_of_one_side_stays_where_an_earlier_release_has_published_it() -> None:
    request = Request("a", interfaces=(POOL,), publish=("[::]:8000-8002:80-82", "9000-9001:90-91"))
    old = resolve(request, Surroundings(machine="machine"), None)
    former = request._replace(publish=("[::]:8000-8002:80", "9000-9001:90"))
    assert resolve(former, Surroundings(machine="machine"), old) == old
    for recorded in (None, old._replace(publish=old.publish[:1]), old._replace(publish=old.publish[1:])):
        with pytest.raises(InvalidOption, match="must be of the same length"):
            resolve(former, Surroundings(machine="machine"), recorded)
    assert resolve(former._replace(publish=()), Surroundings(machine="machine"), old).publish == ()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "-x", "a" * 101])
def test_a_name_leads_nowhere(name: str) -> None:
    with pytest.raises(InvalidOption, match="cannot be the name of a network"):
        _made(name)
