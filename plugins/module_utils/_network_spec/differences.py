# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the wanted state of networks with the host. Pure functions.

Other programs may add things in the namespace or to a bridge of Longshore. These stay: only what a record contained is
removed.
"""

from __future__ import annotations

import ipaddress
import typing as t

from .._netlink.links import Link, Route
from .record import InterfaceRecord, NetworkRecord
from .sysctls import differing

Pair = tuple[t.Any, t.Any]  # the current and the wanted value
Differences = dict[str, Pair]


class Detached(t.NamedTuple):
    """A namespace of ours without its name in /run/netns, and the processes that are in it."""

    inode: int
    pids: tuple[int, ...]


class Observed(t.NamedTuple):
    """A network in its current state on the host.

    ``namespace``: whether its namespace exists; ``foreign``: whether one of another program has its name. ``host`` and
    ``inside``: links by name. ``ends``: the host's ends of the network's own interfaces, by interface. ``sysctls``:
    those with another value than the needed one. ``obsolete_sysctls``: whether a changed sysctl is no longer needed.
    ``rules``: whether the table of nftables is the one that the networks need. ``locked``: whether CRIU drops all packets in the
    namespace, without a container whose restore will remove that. ``detached``: the namespace, if it has lost its name.
    ``renamed``: the present names of our bridges that another program has renamed. ``misnamed``: the names that ends should have."""

    namespace: bool
    host: t.Mapping[str, Link]
    our_bridges: t.Collection[str]
    ends: t.Mapping[str, Link]
    inside: t.Mapping[str, Link]
    routes: t.Sequence[Route]
    sysctls: t.Mapping[str, Pair] = {}
    obsolete_sysctls: bool = False
    rules: bool = True
    locked: bool = False
    foreign: bool = False
    detached: Detached | None = None
    renamed: t.Mapping[str, str] = {}
    misnamed: t.Mapping[str, str] = {}

    @property
    def foreign_bridges(self) -> dict[str, int]:
        """Return the bridges that Longshore has not created, by name, with their mtu."""
        bridges = [link for link in self.host.values() if link.kind == "bridge"]
        return {link.name: link.mtu for link in bridges if link.name not in self.our_bridges}


class Target(t.NamedTuple):
    """The needs of all networks together: sysctls by their path below /proc/sys, and the text of the table of nftables.
    ``state_dir`` distinguishes the links of this installation from those of others."""

    sysctls: t.Mapping[str, str]
    rules: str
    state_dir: str


def bridge_addresses(records: t.Iterable[NetworkRecord], bridge: str) -> set[str]:
    """Return the gateways of a bridge of Longshore, each with the prefix length of its network."""
    found: set[str] = set()
    for record in records:
        for interface in record.interfaces:
            for gateway in interface.host_gateways if interface.bridge == bridge else ():
                networks = [ipaddress.ip_interface(address).network for address in interface.addresses]
                lengths = [each.prefixlen for each in networks if ipaddress.ip_address(gateway) in each]
                found.update(f"{gateway}/{length}" for length in lengths[:1])
    return found


def bridges_of(records: t.Iterable[NetworkRecord]) -> set[str]:
    return {interface.bridge for record in records for interface in record.interfaces}


def of_bridge(
    name: str, former: t.Sequence[NetworkRecord], records: t.Sequence[NetworkRecord], link: Link
) -> Differences:
    """Return the differences of a bridge of Longshore. ``records``: all networks that exist, or will exist."""
    shall = bridge_addresses(records, name)
    after = (set(link.addresses) - bridge_addresses(former, name)) | shall
    pairs: Differences = {"addresses": (sorted(link.addresses), sorted(after)), "up": (link.up, True)}
    pairs["sysctls"] = sides(differing(link, has_ipv6(shall)))
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def has_ipv6(addresses: t.Iterable[str]) -> bool:
    return any(":" in address for address in addresses)


def sides(differences: t.Mapping[str, Pair]) -> Pair:
    names = {path: path.replace("/", ".") for path in differences}
    before, after = ({names[path]: pair[side] for path, pair in differences.items()} for side in (0, 1))
    return before, after


def unused_bridges(records: t.Sequence[NetworkRecord], seen: Observed) -> list[str]:
    """Return Longshore's bridges that neither a network nor a link of another program uses. ``records``: as for
    of_bridge()."""
    used = bridges_of(records)
    others = [link for link in seen.host.values() if link.name not in {end.name for end in seen.ends.values()}]
    # Ports of a bridge, and links that the kernel would remove with it, such as VLANs.
    ports = {link.master for link in others} | {link.peer for link in others if link.kind != "veth"}
    return sorted(name for name in seen.our_bridges if name not in used and seen.host[name].ifindex not in ports)


def is_connected(inside: Link | None, end: Link | None) -> bool:
    """Return whether the two are the ends of one veth pair."""
    return bool(
        inside
        and end
        and (inside.peer, end.peer) == (end.ifindex, inside.ifindex)
        and inside.kind == end.kind == "veth"
    )


def of_interface(wanted: InterfaceRecord, former: t.Sequence[NetworkRecord], seen: Observed) -> Differences:
    """Return the differences of an interface; all of its properties if it does not exist or is not connected."""
    name, inside, end = wanted.name, seen.inside.get(wanted.name), seen.ends.get(wanted.name)
    if inside is None or end is None or not is_connected(inside, end):
        return {key: (None, getattr(wanted, key)) for key in ("addresses", "bridge", "mac", "mtu")}
    before = {
        address for record in former for each in record.interfaces if each.name == name for address in each.addresses
    }
    # In the requested order, in which a new interface gets them.
    after = [*wanted.addresses, *sorted(set(inside.addresses) - before - set(wanted.addresses))]
    bridge = next((link.name for link in seen.host.values() if link.ifindex == end.master), None)
    pairs: Differences = {
        "addresses": (inside.addresses, after), "bridge": (bridge, wanted.bridge),
        "mac": (inside.mac, wanted.mac), "mtu": (min(inside.mtu, end.mtu), wanted.mtu),
        "up": (inside.up and end.up, True),
        "sysctls": sides({**differing(end, False), **differing(inside, has_ipv6(wanted.addresses) or None)}),
    }  # fmt: skip
    if set(inside.addresses) == set(after):
        del pairs["addresses"]
    if name in seen.misnamed:
        pairs["host_interface"] = (end.name, seen.misnamed[name])
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def surplus_interfaces(wanted: NetworkRecord, seen: Observed) -> list[str]:
    """Return the network's interfaces on the host that the wanted record does not contain."""
    return sorted(seen.ends.keys() - {interface.name for interface in wanted.interfaces})


def changed_routes(
    wanted: NetworkRecord, former: t.Sequence[NetworkRecord], seen: t.Sequence[Route]
) -> tuple[list[Route], list[Route]]:
    """Return the routes to remove and the routes to add."""
    shall, had = ([route for record in some for route in record.routes] for some in ([wanted], former))
    gone = [route for route in seen if route in had and route not in shall]
    return gone, [route for route in shall if route not in seen]
