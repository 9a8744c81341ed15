# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the operations for a network, in their order, each with all data that it needs. Pure functions.

A link that takes several operations is set up only by the last one, so the next task detects what a killed one has
left. The record is saved first, with the former records of the network, and again last, without them.
"""

from __future__ import annotations

import typing as t

from .._netlink.links import Link, Route
from .._ports.address import PublishedPort
from . import names
from .differences import (
    Detached,
    Observed,
    Target,
    bridge_addresses,
    bridges_of,
    changed_routes,
    has_ipv6,
    is_connected,
    of_bridge,
    of_interface,
    surplus_interfaces,
    unused_bridges,
)
from .record import InterfaceRecord, NetworkRecord
from .sysctls import closed, differing


class SaveRecord(t.NamedTuple):
    record: NetworkRecord
    former: tuple[NetworkRecord, ...] = ()


class CreateBridge(t.NamedTuple):
    name: str
    mac: str


class CreateNamespace(t.NamedTuple):
    network: str


class AttachNamespace(t.NamedTuple):
    """Give a namespace its name again."""

    network: str
    namespace: Detached


class CreateVethPair(t.NamedTuple):
    """Create a pair. ``peer``: the end in the namespace of the network; it is never in that of the host."""

    network: str
    name: str
    mac: str
    peer: str
    peer_mac: str
    mtu: int


class ConfigureLink(t.NamedTuple):
    """Set the given values, then the link up. ``network``: whose namespace contains the link; empty for the host.
    ``sysctls``: values by their path. ``announce``: let the kernel announce the hardware address to the neighbours."""

    network: str
    name: str
    sysctls: t.Mapping[str, str]
    alias: str = ""
    mac: str = ""
    mtu: int = 0
    bridge: str = ""
    drop: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    announce: bool = False


class RenameLink(t.NamedTuple):
    link: Link
    name: str


class RemoveLink(t.NamedTuple):
    link: Link


class ChangeRoutes(t.NamedTuple):
    """Add first, where each route replaces one to the same network; then drop."""

    network: str
    add: tuple[Route, ...]
    drop: tuple[Route, ...]


class SetSysctls(t.NamedTuple):
    values: t.Mapping[str, str]


class LoadRules(t.NamedTuple):
    """Load the table. ``udp``: published ports whose flows may have another destination from now on."""

    text: str
    udp: tuple[PublishedPort, ...]


class Unlock(t.NamedTuple):
    """Remove the rules with which CRIU drops all packets in the namespace."""

    network: str


class RestoreSysctls(t.NamedTuple):
    """Restore the changed sysctls, except those that are ``needed``."""

    needed: t.Mapping[str, str]


class CheckUnused(t.NamedTuple):
    """Stop with an error if a process uses the namespace."""

    network: str


class RemoveNamespace(t.NamedTuple):
    network: str


class Forget(t.NamedTuple):
    network: str


Operation = t.Union[
    SaveRecord, CreateBridge, CreateNamespace, AttachNamespace, CreateVethPair, ConfigureLink, RenameLink, RemoveLink, ChangeRoutes,
    SetSysctls, LoadRules, Unlock, RestoreSysctls, CheckUnused, RemoveNamespace, Forget,
]  # fmt: skip
_Steps = t.Iterator[Operation]


def change(
    wanted: NetworkRecord, former: t.Sequence[NetworkRecord], others: t.Sequence[NetworkRecord], seen: Observed, target: Target
) -> tuple[Operation, ...]:  # fmt: skip
    """Return the operations of a change. ``former`` and ``others`` as for plan()."""

    def steps() -> _Steps:
        saved = [wanted] == [*former]
        there = [*others, wanted]
        if not saved:
            yield SaveRecord(wanted, tuple(former))
        yield from _bridges([wanted], former, there, seen, target)
        if seen.detached:
            yield AttachNamespace(wanted.name, seen.detached)
        elif not seen.namespace:
            yield CreateNamespace(wanted.name)
        connections = list(_interfaces(wanted, former, seen, target))
        yield from connections
        # With an address, the kernel removes the routes that use it.
        drop, missing = changed_routes(wanted, former, seen.routes)
        add = wanted.routes if connections else tuple(missing)
        if add or drop:
            replaced = {route.to for route in missing}
            yield ChangeRoutes(wanted.name, add, tuple(route for route in drop if route.to not in replaced))
        yield from _ways([wanted, *former], seen, target)
        if seen.locked:
            yield Unlock(wanted.name)
        yield from _unused(there, seen)
        if not saved and former:
            yield SaveRecord(wanted)

    return tuple(steps())


def removal(
    name: str, former: t.Sequence[NetworkRecord], others: t.Sequence[NetworkRecord], seen: Observed, target: Target
) -> tuple[Operation, ...]:  # fmt: skip
    """Return the operations of a removal. ``former`` and ``others`` as for plan()."""

    def steps() -> _Steps:
        if seen.namespace:
            yield CheckUnused(name)
        if former:
            # From now on, no table contains the network, and the next task that removes it completes this removal.
            yield SaveRecord(former[0]._replace(removing=True), tuple(former[1:]))
        yield from _ways(former, seen, target)
        yield from map(RemoveLink, seen.ends.values())
        if not seen.foreign:
            yield RemoveNamespace(name)
        yield from _bridges([], former, others, seen, target)
        yield from _unused(others, seen)
        yield Forget(name)

    return tuple(steps())


def _bridges(
    wanted: t.Sequence[NetworkRecord], former: t.Sequence[NetworkRecord], there: t.Sequence[NetworkRecord], seen: Observed, target: Target
) -> _Steps:  # fmt: skip
    """Yield operations for the bridges that a network needs, or needed. Bridges of other programs stay as they are.
    ``there``: the records of all networks that exist, or will exist."""
    needed, unused = bridges_of(wanted), unused_bridges(there, seen)
    for name in sorted((needed | bridges_of(former)).difference(unused)):
        link, addresses = seen.host.get(name), bridge_addresses(there, name)
        values = closed(name, has_ipv6(addresses))
        if link is None and name in needed:
            yield CreateBridge(name, names.bridge_mac(target.state_dir, name))
            yield ConfigureLink("", name, values, add=tuple(sorted(addresses)))
        elif link and name in seen.our_bridges:
            pairs = of_bridge(name, former, there, link)
            if pairs:
                drop, add = _addresses(link.addresses, pairs.get("addresses", (None, link.addresses))[1])
                yield ConfigureLink("", name, values, drop=drop, add=add)


def _unused(there: t.Sequence[NetworkRecord], seen: Observed) -> _Steps:
    yield from (RemoveLink(seen.host[name]) for name in unused_bridges(there, seen))


def _interfaces(
    wanted: NetworkRecord, former: t.Sequence[NetworkRecord], seen: Observed, target: Target
) -> _Steps:  # fmt: skip
    """Yield operations for both ends of the interfaces, and for the loopback link of the namespace."""
    surplus = surplus_interfaces(wanted, seen)
    changes = {each: pairs for each in wanted.interfaces if (pairs := of_interface(each, former, seen))}
    loopback = closed("lo")
    lo = seen.inside.get("lo")
    if lo and lo.up and not (surplus or changes or differing(lo)):
        return
    yield from (RemoveLink(seen.ends[name]) for name in surplus)
    for interface, pairs in changes.items():
        yield from _connect(wanted.name, interface, pairs, seen, target)
    yield ConfigureLink(wanted.name, "lo", loopback)
    for interface, pairs in changes.items():
        inside = seen.inside.get(interface.name)
        here = inside if inside and is_connected(inside, seen.ends.get(interface.name)) else None
        after = pairs["addresses"][1] if "addresses" in pairs else here.addresses if here else ()
        drop, add = _addresses(here.addresses if here else (), after)
        yield ConfigureLink(
            wanted.name, interface.name, closed(interface.name, has_ipv6(interface.addresses) or None), announce=True,
            mac=interface.mac if here and "mac" in pairs else "", mtu=interface.mtu if here and "mtu" in pairs else 0,
            drop=drop, add=add,
        )  # fmt: skip


def _connect(
    network: str, interface: InterfaceRecord, pairs: t.Mapping[str, t.Any], seen: Observed, target: Target
) -> _Steps:  # fmt: skip
    """Yield operations for the host's end of an interface. They create the pair if it is not connected."""
    end = seen.ends.get(interface.name)
    connected = is_connected(seen.inside.get(interface.name), end)
    whose = target.state_dir, network, interface.name
    name = names.host_interface(*whose)
    if not connected:
        if end is not None:
            yield RemoveLink(end)
        yield CreateVethPair(network, name, names.host_mac(*whose), interface.name, interface.mac, interface.mtu)
    elif end is not None and "host_interface" in pairs:
        yield RenameLink(end, name)
    yield ConfigureLink(
        "", name, closed(name, False), alias=names.alias(network, interface.name), bridge=interface.bridge,
        mtu=interface.mtu if connected and "mtu" in pairs else 0,
    )  # fmt: skip


def _ways(records: t.Sequence[NetworkRecord], seen: Observed, target: Target) -> _Steps:
    """Yield operations for sysctls and rules. ``records``: the current and the former ones of the network."""
    if seen.sysctls:
        yield SetSysctls(target.sysctls)
    if not seen.rules:
        yield LoadRules(
            target.rules, tuple(port for each in records for port in each.publish if port.protocol == "udp")
        )
    if seen.obsolete_sysctls:
        yield RestoreSysctls(target.sysctls)


def _addresses(before: t.Collection[str], after: t.Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the addresses to drop and to add. If one is dropped, add all: with the first address of a subnet, the
    kernel may remove the others (promote_secondaries)."""
    drop = tuple(sorted(set(before) - set(after)))
    return drop, tuple(address for address in after if drop or address not in before)
