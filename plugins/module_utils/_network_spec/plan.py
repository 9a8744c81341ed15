# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the actions for a network: a pure function of the request, the records and the observed state.

Additions by other programs in the namespace, or to a bridge of Longshore, stay: only recorded parts are removed.
"""

from __future__ import annotations

import enum
import ipaddress
import typing as t

from .._netlink.links import Link, Route
from .publishing import Record, published
from .sysctls import differing

Pair = tuple[t.Any, t.Any]  # current, wanted
Differences = dict[str, Pair]


class Action(str, enum.Enum):
    """The actions, in the order of execution."""

    RECORD = "record"
    BRIDGE = "bridge"
    NAMESPACE = "namespace"
    INTERFACE = "interface"
    ROUTE = "route"
    FORWARDING = "forwarding"
    RULES = "rules"
    REMOVE = "remove"


class Observed(t.NamedTuple):
    """The observed state. ``host`` and ``inside``: links by name. ``ends``: the ends on the host, by interface of the network.
    ``sysctls``: those with a wrong value. ``rules``: whether the nftables table is as required."""

    namespace: bool
    host: t.Mapping[str, Link]
    our_bridges: t.Collection[str]
    ends: t.Mapping[str, Link]
    inside: t.Mapping[str, Link]
    routes: t.Sequence[Route]
    sysctls: t.Mapping[str, Pair] = {}
    rules: bool = True

    @property
    def foreign_bridges(self) -> dict[str, int]:
        """Return the bridges of other programs, with their MTU."""
        bridges = [link for link in self.host.values() if link.kind == "bridge"]
        return {link.name: link.mtu for link in bridges if link.name not in self.our_bridges}


class Plan(t.NamedTuple):
    actions: tuple[Action, ...]
    differences: Differences


def plan(wanted: Record, former: t.Sequence[Record], others: t.Sequence[Record], seen: Observed) -> Plan:
    """Return the plan. ``former``: earlier records of the network, the latest first, several after an incomplete change.
    ``others``: the records of the other existing networks."""
    old = former[0] if former else None
    parts: dict[Action, Differences] = {
        Action.BRIDGE: _bridges(wanted, former, others, seen),
        Action.NAMESPACE: {} if seen.namespace else {"state": ("absent", "present")},
        Action.INTERFACE: _interfaces(wanted, former, seen),
        Action.ROUTE: _routes(wanted, former, seen),
        Action.FORWARDING: {path.replace("/", "."): pair for path, pair in seen.sysctls.items()},
        Action.RULES: {} if seen.rules else {"rules": ("missing or changed", "loaded")},
    }
    options = _options(old or {"publish": []}, wanted)
    differences = {path: pair for part in (*parts.values(), options) for path, pair in part.items()}
    actions = tuple(action for action in Action if parts.get(action))
    if [wanted] != former:
        actions = (Action.RECORD, *actions)
        differences.pop("rules", None)  # They follow from other differences.
    return Plan(actions, differences)


def _options(old: Record, wanted: Record) -> Differences:
    pairs: Differences = {
        "publish": ([published(entry) for entry in old["publish"]], [published(entry) for entry in wanted["publish"]])
    }
    pairs.update((name, (old.get(name), wanted[name])) for name in ("masquerade", "isolate", "routed"))
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def bridge_addresses(records: t.Iterable[Record], bridge: str) -> set[str]:
    """Return the gateways of a bridge of Longshore, each with its prefix length."""
    found = set()
    for record in records:
        for interface in record["interfaces"]:
            for gateway in interface["host_gateways"] if interface["bridge"] == bridge else ():
                networks = [ipaddress.ip_interface(address).network for address in interface["addresses"]]
                length = next(each.prefixlen for each in networks if ipaddress.ip_address(gateway) in each)
                found.add(f"{gateway}/{length}")
    return found


def bridges_of(records: t.Iterable[Record]) -> set[str]:
    return {interface["bridge"] for record in records for interface in record["interfaces"]}


def of_bridge(name: str, former: t.Sequence[Record], records: t.Sequence[Record], link: Link) -> Differences:
    """Return the differences of a bridge of Longshore. ``records``: of all wanted networks."""
    shall = bridge_addresses(records, name)
    after = (set(link.addresses) - bridge_addresses(former, name)) | shall
    pairs: Differences = {"addresses": (sorted(link.addresses), sorted(after)), "up": (link.up, True)}
    pairs["sysctls"] = _sides(differing(link, has_ipv6(shall)))
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def has_ipv6(addresses: t.Iterable[str]) -> bool:
    return any(":" in address for address in addresses)


def _sides(differences: t.Mapping[str, Pair]) -> Pair:
    names = {path: path.replace("/", ".") for path in differences}
    before, after = ({names[path]: pair[side] for path, pair in differences.items()} for side in (0, 1))
    return before, after


def unused_bridges(records: t.Sequence[Record], seen: Observed) -> list[str]:
    """Return bridges of Longshore that no network needs and that have no foreign ports. ``records``: of all wanted networks."""
    used = bridges_of(records)
    others = [link for link in seen.host.values() if link.name not in {end.name for end in seen.ends.values()}]
    # Its ports, and other links that depend on it, such as VLANs.
    ports = {link.master for link in others} | {link.peer for link in others if link.kind != "veth"}
    return sorted(name for name in seen.our_bridges if name not in used and seen.host[name].ifindex not in ports)


def _bridges(wanted: Record, former: t.Sequence[Record], others: t.Sequence[Record], seen: Observed) -> Differences:
    records = [*others, wanted]
    gone = unused_bridges(records, seen)
    found: Differences = {f"bridges.{name}": ("present", "absent") for name in gone}
    for name in sorted(bridges_of([wanted, *former]).difference(gone)):
        if name in seen.our_bridges:
            pairs = of_bridge(name, former, records, seen.host[name])
            found.update({f"bridges.{name}.{key}": pair for key, pair in pairs.items()})
        elif name not in seen.host and name in bridges_of([wanted]):
            found[f"bridges.{name}"] = ("absent", "present")
    return found


def is_connected(inside: Link | None, end: Link | None) -> bool:
    """Tell whether the two are the ends of one veth pair."""
    return bool(
        inside
        and end
        and (inside.peer, end.peer) == (end.ifindex, inside.ifindex)
        and inside.kind == end.kind == "veth"
    )


def of_interface(wanted: t.Mapping[str, t.Any], former: t.Sequence[Record], seen: Observed) -> Differences:
    """Return the differences of an interface, all of its properties if it does not exist."""
    name, inside, end = wanted["name"], seen.inside.get(wanted["name"]), seen.ends.get(wanted["name"])
    if inside is None or end is None or not is_connected(inside, end):
        return {key: (None, wanted[key]) for key in ("addresses", "bridge", "mac", "mtu")}
    before = {
        address
        for record in former
        for each in record["interfaces"]
        if each["name"] == name
        for address in each["addresses"]
    }
    # In the order of the request, in which a new interface gets them.
    after = [*wanted["addresses"], *sorted(set(inside.addresses) - before - set(wanted["addresses"]))]
    bridge = next((link.name for link in seen.host.values() if link.ifindex == end.master), None)
    pairs: Differences = {
        "addresses": (inside.addresses, after), "bridge": (bridge, wanted["bridge"]),
        "mac": (inside.mac, wanted["mac"]), "mtu": (min(inside.mtu, end.mtu), wanted["mtu"]),
        "up": (inside.up and end.up, True),
        "sysctls": _sides({**differing(end, False), **differing(inside, has_ipv6(wanted["addresses"]) or None)}),
    }  # fmt: skip
    if set(inside.addresses) == set(after):
        del pairs["addresses"]
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _interfaces(wanted: Record, former: t.Sequence[Record], seen: Observed) -> Differences:
    found: Differences = {}
    for interface in wanted["interfaces"]:
        pairs = of_interface(interface, former, seen)
        found.update({f"interfaces.{interface['name']}.{key}": pair for key, pair in pairs.items()})
    for name in surplus(wanted, seen):
        found[f"interfaces.{name}"] = ("present", "absent")
    if seen.namespace and not seen.inside["lo"].up:
        found["interfaces.lo.up"] = (False, True)
    if seen.namespace and differing(seen.inside["lo"]):
        found["interfaces.lo.sysctls"] = _sides(differing(seen.inside["lo"]))
    return found


def surplus(wanted: Record, seen: Observed) -> list[str]:
    """Return Longshore's interfaces that are not wanted in the network any more."""
    return sorted(seen.ends.keys() - {interface["name"] for interface in wanted["interfaces"]})


def _routes(wanted: Record, former: t.Sequence[Record], seen: Observed) -> Differences:
    drop, add = changed_routes(wanted, former, seen.routes)
    before, after = set(seen.routes), (set(seen.routes) - set(drop)) | set(add)
    texts = [[f"{route.to} via {route.via}" for route in sorted(some)] for some in (before, after)]
    return {"routes": (texts[0], texts[1])} if drop or add else {}


def changed_routes(
    wanted: Record, former: t.Sequence[Record], seen: t.Sequence[Route]
) -> tuple[list[Route], list[Route]]:
    """Return the routes to remove and the routes to add."""
    shall, had = ([Route(**each) for record in some for each in record["routes"]] for some in ([wanted], former))
    gone = [route for route in seen if route in had and route not in shall]
    return gone, [route for route in shall if route not in seen]
