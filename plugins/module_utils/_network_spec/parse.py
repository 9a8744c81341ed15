# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the request for a network into a record, and allocate addresses from subnets: pure functions.

A request contains what the user wrote, a record (record.py) what is saved.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._base.errors import Conflict, InvalidOption
from .._netlink.links import Route
from . import addresses
from .names import mac
from .publishing import check_ports, forwarded, publish
from .record import InterfaceRecord, NetworkRecord

DEFAULT_BRIDGE, DEFAULT_MTU = "longshore0", 1500
_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}")


class Interface(t.NamedTuple):
    """One interface as requested."""

    name: str = "eth0"
    bridge: str = DEFAULT_BRIDGE
    address: tuple[str, ...] = ()
    subnet: tuple[str, ...] = ()
    gateway: tuple[str, ...] = ()
    mac: str | None = None
    mtu: int | None = None


class Request(t.NamedTuple):
    """One network as requested."""

    name: str
    absent: bool = False
    interfaces: tuple[Interface, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()  # to, via
    publish: tuple[str, ...] = ()
    masquerade: bool = True
    isolate: bool = True
    routed: bool = False


class Surroundings(t.NamedTuple):
    """The other networks and the host. ``others``: records by name. ``links``: the addresses of each link of the host, except
    Longshore's bridges and their ports. ``foreign``: the bridges among these links, with their MTU. ``machine`` identifies this
    host."""

    others: t.Mapping[str, NetworkRecord] = {}
    links: t.Mapping[str, t.Sequence[str]] = {}
    foreign: t.Mapping[str, int] = {}
    machine: str = ""


def check_name(name: str) -> None:
    # It names a record and a file in /run/netns, so it must not lead to another directory.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        hint = "Use letters, digits, '_', '-' and '.', at most 100 of them, with no '-' or '.' at the beginning."
        raise InvalidOption(f"{name!r} cannot be the name of a network.", hint=hint)


def resolve(request: Request, around: Surroundings, old: NetworkRecord | None) -> NetworkRecord:
    """Return the record for a request. ``old``: the present record of this network, whose addresses are kept.

    Raises InvalidOption for impossible requests, and Conflict for addresses of others.
    """
    check_name(request.name)
    names = [interface.name for interface in request.interfaces]
    for name in names:
        if names.count(name) > 1:
            raise InvalidOption(f"There are two interfaces with the name {name}.")
    # Addresses that must be unique. Several networks can share a gateway.
    taken, routers = (dict(each) for each in _used(around))
    done: list[InterfaceRecord] = []
    for interface in request.interfaces:
        resolved = _interface(interface, request.name, around, old, (taken, routers))
        done.append(resolved)
        taken.update((text.partition("/")[0], f"{resolved.name} of this network") for text in resolved.addresses)
        routers.update((text, f"the gateway of {resolved.name}") for text in resolved.gateways)
    published = sorted((publish(text, old.publish if old else ()) for text in request.publish), key=repr)
    record = NetworkRecord(
        request.name, tuple(done), _routes(request.routes, done), tuple(published), request.masquerade, request.isolate, request.routed,
    )  # fmt: skip
    _check_neighbours(record, around)
    check_ports(record, around.others)
    return record


def _used(around: Surroundings) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return addresses and gateways of the other networks, each with the name of its owner for messages."""
    interfaces = [(f"the network {name}", each) for name, record in around.others.items() for each in record.interfaces]
    return (
        [(text.partition("/")[0], whose) for whose, each in interfaces for text in each.addresses],
        [(text, f"the gateway of {whose}") for whose, each in interfaces for text in each.gateways],
    )


def _interface(
    wanted: Interface,
    network: str,
    around: Surroundings,
    old: NetworkRecord | None,
    used: tuple[t.Mapping[str, str], ...],
) -> InterfaceRecord:
    _check_link(wanted, around, old)
    foreign = wanted.bridge in around.foreign
    there = {text.partition("/")[0] for text in around.links[wanted.bridge]} if foreign else set()
    taken = {**used[1], **used[0], **dict.fromkeys(there, f"the bridge {wanted.bridge}")}
    subnets = _by_family(wanted.name, "subnet", [addresses.subnet(text) for text in wanted.subnet])
    gateways = _by_family(wanted.name, "gateway", [addresses.address(text) for text in wanted.gateway])
    own = [addresses.static(text, subnets) for text in wanted.address]
    for version, subnet in subnets.items():
        pool_gateway = gateways.setdefault(version, next(iter(subnet.hosts())))
        if not any(address.version == version for address in own):
            own.append(_allocate(subnet, str(pool_gateway), taken, _kept(old, wanted.name)))
    for address in own:
        _check_address(address, own, gateways.values(), taken)
    for gateway in gateways.values():
        _check_gateway(gateway, wanted.name, own, used[0])
    # A bridge has the lowest MTU of its ports, and that of a foreign bridge must not change.
    mtu = wanted.mtu or around.foreign.get(wanted.bridge, DEFAULT_MTU)
    if mtu < 1280 and any(address.version == 6 for address in own):
        raise InvalidOption(f"The mtu {mtu} of {wanted.name} is too small for IPv6, which needs 1280.")
    known = tuple(sorted(str(gateway) for gateway in gateways.values()))
    return InterfaceRecord(
        wanted.name, wanted.bridge, foreign, addresses=tuple(str(address) for address in own), gateways=known,
        # A bridge of Longshore gets them. Behind a bridge of another program there may be another router.
        host_gateways=tuple(each for each in known if not foreign or each in there),
        mac=addresses.hardware(wanted.mac) if wanted.mac else mac(around.machine, network, wanted.name), mtu=mtu,
    )  # fmt: skip


def _check_link(wanted: Interface, around: Surroundings, old: NetworkRecord | None) -> None:
    for name in (wanted.name, wanted.bridge):
        if not _LINK.fullmatch(name) or name in (".", "..", "lo", "all", "default"):
            hint = "Use up to 15 letters, digits, '_', '-' and '.'."
            raise InvalidOption(f"{name!r} cannot be the name of an interface.", hint=hint)
    if wanted.bridge in around.links and wanted.bridge not in around.foreign:
        raise InvalidOption(f"{wanted.bridge} is an interface of this host, but not a bridge.", hint="Use another one.")
    if wanted.mtu is not None and not 576 <= wanted.mtu <= 65535:
        raise InvalidOption(f"The mtu {wanted.mtu} of {wanted.name} is not between 576 and 65535.")
    lowest = around.foreign.get(wanted.bridge, 0)
    if wanted.mtu is not None and wanted.mtu < lowest:
        hint = f"It would lower the mtu of the bridge {wanted.bridge}, which belongs to another program."
        raise InvalidOption(
            f"The mtu {wanted.mtu} of {wanted.name} is less than {lowest}, that of {wanted.bridge}.", hint=hint
        )
    borrowed = {each.bridge for each in (old.interfaces if old else ()) if each.foreign}
    if wanted.bridge in borrowed and wanted.bridge not in around.links:
        # For example after a reboot. A bridge of Longshore would replace it, and get the address of its router.
        hint = "Start the program that creates it. To use a bridge of Longshore, remove this network first."
        raise Conflict(f"The bridge {wanted.bridge}, which belongs to another program, does not exist.", hint=hint)


def _check_address(
    address: t.Any, all_of_it: t.Sequence[t.Any], gateways: t.Collection[t.Any], taken: t.Mapping[str, str]
) -> None:
    if str(address.ip) in taken:
        raise Conflict(f"The address {address.ip} is in use by {taken[str(address.ip)]}.")
    if address.ip in gateways:
        raise InvalidOption(f"The address {address.ip} is also that of its gateway.")
    if [each.ip for each in all_of_it].count(address.ip) > 1:
        raise InvalidOption(f"The address {address.ip} is given twice.")
    addresses.check_host(address.ip, address.network)


def _check_gateway(gateway: t.Any, interface: str, own: t.Sequence[t.Any], taken: t.Mapping[str, str]) -> None:
    within = [address.network for address in own if gateway in address.network]
    if not within:
        raise InvalidOption(f"The gateway {gateway} of {interface} is in no network of its addresses.")
    addresses.check_host(gateway, within[0])
    if str(gateway) in taken:
        raise Conflict(f"The gateway {gateway} of {interface} is the address of {taken[str(gateway)]}.")


def _check_neighbours(record: NetworkRecord, around: Surroundings) -> None:
    """Raise Conflict for a MAC in use, and for overlapping networks: the host would reach only one of them."""
    macs = {
        (each.bridge, each.mac): f"the network {other}"
        for other, its in around.others.items()
        for each in its.interfaces
    }
    for each in record.interfaces:
        if (each.bridge, each.mac) in macs:
            whose = macs[each.bridge, each.mac]
            raise Conflict(f"The mac {each.mac} on {each.bridge} is in use by {whose}.")
        macs[each.bridge, each.mac] = f"the interface {each.name}"
    elsewhere = [
        (address, each.bridge, f"the network {other} on {each.bridge}")
        for other, its in {**around.others, record.name: record}.items() for each, address in forwarded(its)
    ] + [(address, link, f"{address} on {link} of this host") for link, its in around.links.items() for address in its]  # fmt: skip
    for each, address in forwarded(record):
        mine = ipaddress.ip_interface(address).network
        for text, link, whose in elsewhere:
            theirs = ipaddress.ip_interface(text).network
            if link != each.bridge and theirs.version == mine.version and mine.overlaps(theirs):
                raise Conflict(f"{mine} on {each.bridge} overlaps with {whose}.", hint="Take another subnet.")


def _kept(old: NetworkRecord | None, name: str) -> list[str]:
    interfaces = old.interfaces if old else []
    return [address for each in interfaces if each.name == name for address in each.addresses]


def _by_family(interface: str, what: str, values: t.Sequence[t.Any]) -> dict[int, t.Any]:
    found = {value.version: value for value in values}
    if len(found) < len(values):
        raise InvalidOption(f"{interface} can have only one {what} of IPv4 and one of IPv6.")
    return found


def _allocate(subnet: addresses.Network, gateway: str, taken: t.Mapping[str, str], kept: t.Sequence[str]) -> t.Any:
    """Return the former address, otherwise the lowest free one."""
    for text in kept:
        address = ipaddress.ip_interface(text)
        if address.network == subnet and str(address.ip) not in (*taken, gateway):
            return address
    for host in subnet.hosts():
        if str(host) not in (gateway, *taken):
            return ipaddress.ip_interface(f"{host}/{subnet.prefixlen}")
    raise Conflict(f"No address of the subnet {subnet} is free.", hint="Remove networks, or use a larger subnet.")


def _routes(wanted: t.Sequence[tuple[str, str]], interfaces: t.Sequence[InterfaceRecord]) -> tuple[Route, ...]:
    """Return the requested routes, and for each family the default route through the first interface with a gateway.

    Raises InvalidOption for a route that is impossible.
    """
    own = [(each.name, ipaddress.ip_interface(text)) for each in interfaces for text in each.addresses]
    found = {}
    for to, via in wanted:
        gateway, network = addresses.address(via), addresses.destination(to, via)
        through = [(name, each) for name, each in own if gateway in each.network]
        if not through:
            raise InvalidOption(f"The route to {to} goes via {via}, which is in no network of the addresses.")
        if gateway in [each.ip for _name, each in own]:
            raise InvalidOption(f"The route to {to} cannot go via {via}, which is its own address.")
        addresses.check_host(gateway, through[0][1].network)
        if network in [each.network for _name, each in own]:
            raise InvalidOption(f"The route to {to} cannot go via {via}: the network is directly connected.")
        if str(network) in found:
            raise InvalidOption(f"There are two routes to {to}.")
        found[str(network)] = Route(str(network), str(gateway), through[0][0])
    for interface in interfaces:
        for text in interface.gateways:
            default = "::/0" if ":" in text else "0.0.0.0/0"
            found.setdefault(default, Route(default, text, interface.name))
    return tuple(sorted(found.values(), key=str))
