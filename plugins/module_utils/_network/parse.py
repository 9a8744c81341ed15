# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network shall be, read from what was written, with the addresses that pools give out: pure functions.

A record is what is kept of a network, a JSON object: name, interfaces (name, bridge, foreign, addresses, gateways,
host_gateways, mac, mtu), routes (to, via, interface), publish (see publishing.py), masquerade. A bridge is foreign that somebody
else has made. A record that has "removing" too is of a network on its way out; see records.py for "former".
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._engine.errors import Conflict, InvalidInput
from .names import mac
from .publishing import Record, check_ports, forwarded, publish

RECORD_FORMAT = 1  # Raised when an older release could misread what is written.
DEFAULT_BRIDGE, DEFAULT_MTU = "longshore0", 1500
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}")


class Interface(t.NamedTuple):
    """One interface as it was asked for."""

    name: str = "eth0"
    bridge: str = DEFAULT_BRIDGE
    address: tuple[str, ...] = ()
    subnet: tuple[str, ...] = ()
    gateway: tuple[str, ...] = ()
    mac: str | None = None
    mtu: int | None = None


class Request(t.NamedTuple):
    """One network as it was asked for."""

    name: str
    absent: bool = False
    interfaces: tuple[Interface, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()  # to, via
    publish: tuple[str, ...] = ()
    masquerade: bool = True


class Surroundings(t.NamedTuple):
    """What else there is. ``others``: records by name. ``links``: the addresses of each link of the host, our bridges and
    what hangs on them left out. ``foreign``: of those links the bridges, with their mtu. ``machine`` tells this host from others."""

    others: t.Mapping[str, Record] = {}
    links: t.Mapping[str, t.Sequence[str]] = {}
    foreign: t.Mapping[str, int] = {}
    machine: str = ""


def check_name(name: str) -> None:
    # A file in /run/netns, and of a record: nothing that leads elsewhere.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        hint = "Use letters, digits, '_', '-' and '.', no '-' or '.' first, at most 100 characters."
        raise InvalidInput(f"{name!r} cannot be the name of a network.", hint=hint)


def resolve(request: Request, around: Surroundings, old: Record | None) -> Record:
    """The record of what was asked for. ``old``: the record of this network, whose addresses are kept.

    Raises InvalidInput for what cannot be, and Conflict for what others have.
    """
    check_name(request.name)
    names = [interface.name for interface in request.interfaces]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"There are two interfaces with the name {name}.")
    taken = {address: name for name, record in around.others.items() for address in _used(record)}
    done: list[dict[str, t.Any]] = []
    for interface in request.interfaces:
        made = _interface(interface, request.name, around, old, taken)
        done.append(made)
        taken.update(dict.fromkeys(_used({"interfaces": [made]}), request.name))
    record: Record = {
        "format": RECORD_FORMAT, "name": request.name, "interfaces": done, "routes": _routes(request.routes, done),
        "publish": sorted((publish(text) for text in request.publish), key=str), "masquerade": request.masquerade,
    }  # fmt: skip
    _check_neighbours(record, around)
    check_ports(record, around.others)
    return record


def _used(record: Record) -> t.Iterator[str]:
    for interface in record["interfaces"]:
        yield from (address.partition("/")[0] for address in interface["addresses"])
        yield from interface["gateways"]


def _interface(
    wanted: Interface, network: str, around: Surroundings, old: Record | None, taken: t.Mapping[str, str]
) -> dict[str, t.Any]:
    _check_link(wanted, around)
    subnets = _by_family(wanted.name, "subnet", [_subnet(text) for text in wanted.subnet])
    gateways = _by_family(wanted.name, "gateway", [_address(text) for text in wanted.gateway])
    addresses = [_static(text, subnets) for text in wanted.address]
    for version, subnet in subnets.items():
        pool_gateway = gateways.setdefault(version, next(iter(subnet.hosts())))
        if not any(address.version == version for address in addresses):
            addresses.append(_allocate(subnet, str(pool_gateway), taken, _kept(old, wanted.name)))
    for address in addresses:
        _check_address(address, gateways.values(), taken)
    for gateway in gateways.values():
        within = [address.network for address in addresses if gateway in address.network]
        if not within:
            raise InvalidInput(f"The gateway {gateway} of {wanted.name} is in the network of none of its addresses.")
        _check_host(gateway, within[0])
    # A bridge has the lowest mtu of its ports, and somebody else's shall stay as it is.
    mtu = wanted.mtu or around.foreign.get(wanted.bridge, DEFAULT_MTU)
    if mtu < 1280 and any(address.version == 6 for address in addresses):
        raise InvalidInput(f"The mtu {mtu} of {wanted.name} is too small for IPv6, which needs 1280.")
    known = [str(gateway) for gateway in gateways.values()]
    foreign = wanted.bridge in around.foreign
    there = {address.partition("/")[0] for address in around.links[wanted.bridge]} if foreign else {*known}
    return {
        "name": wanted.name, "bridge": wanted.bridge, "foreign": foreign, "addresses": sorted(str(address) for address in addresses),
        "gateways": sorted(known),
        # A bridge of our own gets them; one of somebody else's may have another router behind it.
        "host_gateways": sorted(each for each in known if each in there),
        "mac": _mac(wanted.mac) if wanted.mac else mac(around.machine, network, wanted.name), "mtu": mtu,
    }  # fmt: skip


def _check_link(wanted: Interface, around: Surroundings) -> None:
    for name in (wanted.name, wanted.bridge):
        if not _LINK.fullmatch(name) or name in (".", "..", "lo", "all", "default"):
            hint = "Use up to 15 letters, digits, '_', '-' and '.'."
            raise InvalidInput(f"{name!r} cannot be the name of an interface.", hint=hint)
    if wanted.bridge in around.links and wanted.bridge not in around.foreign:
        raise InvalidInput(f"{wanted.bridge} is an interface of this host, and not a bridge.", hint="Name another one.")
    if wanted.mtu is not None and not 576 <= wanted.mtu <= 65535:
        raise InvalidInput(f"The mtu {wanted.mtu} of {wanted.name} is not one from 576 to 65535.")


def _check_address(address: t.Any, gateways: t.Collection[t.Any], taken: t.Mapping[str, str]) -> None:
    if str(address.ip) in taken:
        raise Conflict(f"The address {address.ip} is that of the network {taken[str(address.ip)]} already.")
    if address.ip in gateways:
        raise InvalidInput(f"The address {address.ip} is that of its own gateway.")
    _check_host(address.ip, address.network)


def _check_host(address: t.Any, network: Network) -> None:
    """The first and the last of an IPv4 network are nobody's, and the first of IPv6 is any router's (RFC 4291, 2.6.1)."""
    if network.num_addresses > 2:
        last = [network.broadcast_address] if network.version == 4 else []
        if address in (network.network_address, *last) or address.is_multicast or address.is_unspecified:
            raise InvalidInput(f"{address} is no address of one host in {network}.")


def _check_neighbours(record: Record, around: Surroundings) -> None:
    """A network that the host reaches in two ways is reached in one of them only. Raises Conflict."""
    macs = {
        (each["bridge"], each["mac"]): f"the network {other}"
        for other, its in around.others.items()
        for each in its["interfaces"]
    }
    for each in record["interfaces"]:
        if (each["bridge"], each["mac"]) in macs:
            whose = macs[each["bridge"], each["mac"]]
            raise Conflict(f"The mac {each['mac']} on {each['bridge']} is that of {whose} already.")
        macs[each["bridge"], each["mac"]] = f"the interface {each['name']}"
    elsewhere = [
        (address, each["bridge"], f"the network {other} on {each['bridge']}")
        for other, its in {**around.others, record["name"]: record}.items() for each, address in forwarded(its)
    ] + [(address, link, f"{address} on {link} of this host") for link, its in around.links.items() for address in its]  # fmt: skip
    for each, address in forwarded(record):
        mine = ipaddress.ip_interface(address).network
        for text, link, whose in elsewhere:
            theirs = ipaddress.ip_interface(text).network
            if link != each["bridge"] and theirs.version == mine.version and mine.overlaps(theirs):
                raise Conflict(f"{mine} on {each['bridge']} overlaps with {whose}.", hint="Take another subnet.")


def _kept(old: Record | None, name: str) -> list[str]:
    interfaces = old["interfaces"] if old else []
    return [address for each in interfaces if each["name"] == name for address in each["addresses"]]


def _by_family(interface: str, what: str, values: t.Sequence[t.Any]) -> dict[int, t.Any]:
    found = {value.version: value for value in values}
    if len(found) < len(values):
        raise InvalidInput(f"{interface} can have one {what} of IPv4 and one of IPv6.")
    return found


def _allocate(subnet: Network, gateway: str, taken: t.Mapping[str, str], kept: t.Sequence[str]) -> t.Any:
    """What it had before, else the lowest that is free."""
    for text in kept:
        address = ipaddress.ip_interface(text)
        if address.network == subnet and str(address.ip) not in (*taken, gateway):
            return address
    for host in subnet.hosts():
        if str(host) not in (gateway, *taken):
            return ipaddress.ip_interface(f"{host}/{subnet.prefixlen}")
    raise Conflict(f"No address of the subnet {subnet} is free.", hint="Remove networks, or take a larger subnet.")


def _subnet(text: str) -> Network:
    try:
        subnet = ipaddress.ip_network(text)
    except ValueError as exc:
        raise InvalidInput(f"The subnet {text!r} is none: {exc}.", hint="Write one such as 10.78.0.0/24.") from exc
    if subnet.num_addresses < 4:
        raise InvalidInput(f"The subnet {text} is too small: it needs a gateway and an address.")
    return subnet


def _address(text: str) -> t.Any:
    try:
        if "%" not in text:
            return ipaddress.ip_address(text)
    except ValueError:
        pass
    raise InvalidInput(f"{text!r} is not an IP address.")


def _static(text: str, subnets: t.Mapping[int, t.Any]) -> t.Any:
    _address(text.partition("/")[0])
    subnet = subnets.get(6 if ":" in text else 4)
    if "/" not in text and subnet is None:
        raise InvalidInput(
            f"The address {text} has no length of its network.", hint=f"Write {text}/24, or give subnet."
        )
    try:
        address = ipaddress.ip_interface(text if "/" in text else f"{text}/{subnet.prefixlen if subnet else ''}")
    except ValueError as exc:
        raise InvalidInput(f"The address {text!r} is none: {exc}.") from exc
    if subnet is not None and address.network != subnet:
        raise InvalidInput(f"The address {text} is not in the subnet {subnet}.")
    return address


def _routes(wanted: t.Sequence[tuple[str, str]], interfaces: t.Sequence[Record]) -> list[dict[str, str]]:
    """Those that were asked for, and for each family the default route by the first interface that has a gateway."""
    found = {}
    for to, via in wanted:
        gateway, network = _address(via), _destination(to, via)
        through = [
            each["name"] for each in interfaces
            if any(gateway in ipaddress.ip_interface(address).network for address in each["addresses"])
        ]  # fmt: skip
        if not through:
            raise InvalidInput(f"The route to {to} goes via {via}, which is in the network of no address.")
        if network in found:
            raise InvalidInput(f"There are two routes to {to}.")
        found[network] = {"to": network, "via": str(gateway), "interface": through[0]}
    for each in interfaces:
        for text in each["gateways"]:
            default = "::/0" if ":" in text else "0.0.0.0/0"
            found.setdefault(default, {"to": default, "via": text, "interface": each["name"]})
    return sorted(found.values(), key=str)


def _destination(to: str, via: str) -> str:
    gateway = _address(via)
    if to == "default":
        return "0.0.0.0/0" if gateway.version == 4 else "::/0"
    try:
        network = ipaddress.ip_network(to)
    except ValueError as exc:
        raise InvalidInput(f"A route cannot lead to {to!r}: {exc}.", hint="Give a network, or default.") from exc
    if network.version != gateway.version:
        raise InvalidInput(f"The route to {to} cannot go via {via}: one is IPv4, the other IPv6.")
    return str(network)


def _mac(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text) or int(text[:2], 16) % 2 or text.strip("0:") == "":
        raise InvalidInput(f"{text!r} is not the hardware address of one interface.", hint="Write 02:00:00:00:00:01.")
    return text.lower()
