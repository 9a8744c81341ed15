# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that bring a network about, in their order, each with all that it needs: pure functions.

A link that takes several steps is up only after the last of them, so that the next task sees what a killed one has left. The
record is saved first, with what the network was before, and saved last without that.
"""

from __future__ import annotations

import typing as t

from .._netlink.links import Link, Route
from .._ports.address import PublishedPort
from . import names
from .differences import (
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


class CreateVethPair(t.NamedTuple):
    """``peer`` is the end in the namespace of the network. It never is in that of the host."""

    network: str
    name: str
    mac: str
    peer: str
    peer_mac: str
    mtu: int


class ConfigureLink(t.NamedTuple):
    """Set what is given, then the link up. ``network``: the one in whose namespace it is, empty for the host. ``sysctls``: values
    by their path. ``announce``: tell the neighbours of another hardware address."""

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


class RemoveLink(t.NamedTuple):
    link: Link


class ChangeRoutes(t.NamedTuple):
    """``add`` first, each in the place of another one to the same network."""

    network: str
    add: tuple[Route, ...]
    drop: tuple[Route, ...]


class SetSysctls(t.NamedTuple):
    values: t.Mapping[str, str]


class LoadRules(t.NamedTuple):
    """``udp``: ports whose flows lead elsewhere from now on."""

    text: str
    udp: tuple[PublishedPort, ...]


class RestoreSysctls(t.NamedTuple):
    """Give back what was changed, but for what is ``needed``."""

    needed: t.Mapping[str, str]


class CheckUnused(t.NamedTuple):
    """Stop where a process is in the namespace."""

    network: str


class RemoveNamespace(t.NamedTuple):
    network: str


class Forget(t.NamedTuple):
    network: str


Operation = t.Union[
    SaveRecord, CreateBridge, CreateNamespace, CreateVethPair, ConfigureLink, RemoveLink, ChangeRoutes, SetSysctls, LoadRules,
    RestoreSysctls, CheckUnused, RemoveNamespace, Forget,
]  # fmt: skip
_Steps = t.Iterator[Operation]


def change(
    wanted: NetworkRecord, former: t.Sequence[NetworkRecord], others: t.Sequence[NetworkRecord], seen: Observed, target: Target
) -> tuple[Operation, ...]:  # fmt: skip
    """``former`` and ``others`` as for plan()."""

    def steps() -> _Steps:
        saved = [wanted] == [*former]
        there = [*others, wanted]
        if not saved:
            yield SaveRecord(wanted, tuple(former))
        yield from _bridges([wanted], former, there, seen, target)
        if not seen.namespace:
            yield CreateNamespace(wanted.name)
        connections = list(_interfaces(wanted, former, seen, target))
        yield from connections
        # With an address the kernel takes away the routes by it, too.
        drop, missing = changed_routes(wanted, former, seen.routes)
        add = wanted.routes if connections else tuple(missing)
        if add or drop:
            replaced = {route.to for route in missing}
            yield ChangeRoutes(wanted.name, add, tuple(route for route in drop if route.to not in replaced))
        yield from _ways([wanted, *former], seen, target)
        yield from _unused(there, seen)
        if not saved and former:
            yield SaveRecord(wanted)

    return tuple(steps())


def removal(
    name: str, former: t.Sequence[NetworkRecord], others: t.Sequence[NetworkRecord], seen: Observed, target: Target
) -> tuple[Operation, ...]:  # fmt: skip
    """``former`` and ``others`` as for plan()."""

    def steps() -> _Steps:
        if seen.namespace:
            yield CheckUnused(name)
        if former:
            # From here on it is in no table, and the next task that removes the network completes the removal.
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
    """Those that a network needs, or needed. Those of somebody else are used, and not changed. ``there``: the records of all
    networks that are to be there."""
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
    """And what goes with them in the namespace."""
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
    """The end on the host."""
    end = seen.ends.get(interface.name)
    connected = is_connected(seen.inside.get(interface.name), end)
    whose = target.state_dir, network, interface.name
    name = names.host_interface(*whose)
    if not connected:
        if end is not None:
            yield RemoveLink(end)
        yield CreateVethPair(network, name, names.host_mac(*whose), interface.name, interface.mac, interface.mtu)
    yield ConfigureLink(
        "", name, closed(name, False), alias=names.alias(network, interface.name), bridge=interface.bridge,
        mtu=interface.mtu if connected and "mtu" in pairs else 0,
    )  # fmt: skip


def _ways(records: t.Sequence[NetworkRecord], seen: Observed, target: Target) -> _Steps:
    """The way for packets, or what is left of it. ``records``: what the network is and was."""
    if seen.sysctls:
        yield SetSysctls(target.sysctls)
    if not seen.rules:
        yield LoadRules(
            target.rules, tuple(port for each in records for port in each.publish if port.protocol == "udp")
        )
    if seen.obsolete_sysctls:
        yield RestoreSysctls(target.sysctls)


def _addresses(before: t.Collection[str], after: t.Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return those to drop and those to add, which are all where one is dropped: with the first address of a network its others
    may go as well (promote_secondaries)."""
    drop = tuple(sorted(set(before) - set(after)))
    return drop, tuple(address for address in after if drop or address not in before)
