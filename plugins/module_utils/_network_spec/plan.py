# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a network: a pure function of the wanted record, the saved records and the host."""

from __future__ import annotations

import enum
import typing as t

from . import differences as compare
from .differences import Differences, Observed, Target
from .record import NetworkRecord
from .sysctls import differing

if t.TYPE_CHECKING:
    from .operations import Operation


class Action(str, enum.Enum):
    """The actions, in the order of execution."""

    RECORD = "record"
    BRIDGE = "bridge"
    NAMESPACE = "namespace"
    INTERFACE = "interface"
    ROUTE = "route"
    FORWARDING = "forwarding"
    RULES = "rules"
    UNLOCK = "unlock"  # removes the rules with which CRIU drops all packets in the namespace
    REMOVE = "remove"


class Plan(t.NamedTuple):
    """``operations`` carry the actions out, in this order. Without an action there is none."""

    actions: tuple[Action, ...] = ()
    differences: t.Mapping[str, t.Any] = {}
    operations: tuple[Operation, ...] = ()


def plan(
    wanted: NetworkRecord, former: t.Sequence[NetworkRecord], others: t.Sequence[NetworkRecord], seen: Observed, target: Target
) -> Plan:  # fmt: skip
    """``former``: what it has been, the latest first; more than one where a change was not completed. ``others``: the records of
    the other networks that are there. ``target``: what all networks together need of the host."""
    parts: dict[Action, Differences] = {
        Action.BRIDGE: _bridges(wanted, former, others, seen),
        Action.NAMESPACE: {"name": (None, wanted.name)}
        if seen.detached
        else {}
        if seen.namespace
        else {"state": ("absent", "present")},
        Action.INTERFACE: _interfaces(wanted, former, seen),
        Action.ROUTE: _routes(wanted, former, seen),
        Action.FORWARDING: {path.replace("/", "."): pair for path, pair in seen.sysctls.items()},
        Action.UNLOCK: {"locked": (True, False)} if seen.locked else {},
        Action.RULES: {} if seen.rules else {"rules": ("missing or changed", "loaded")},
    }
    options = _options(former[0] if former else None, wanted)
    differences = {path: pair for part in (*parts.values(), options) for path, pair in part.items()}
    actions = tuple(action for action in Action if parts.get(action))
    if [wanted] != [*former]:
        actions = (Action.RECORD, *actions)
        differences.pop("rules", None)  # They follow from what is different there.
    if not actions:
        return Plan((), differences)
    from .operations import change

    return Plan(actions, differences, change(wanted, former, others, seen, target))


def plan_removal(
    name: str, former: t.Sequence[NetworkRecord], others: t.Sequence[NetworkRecord], seen: Observed, target: Target
) -> Plan:  # fmt: skip
    if not (former or seen.namespace or seen.ends):
        return Plan()
    from .operations import removal

    return Plan((Action.REMOVE,), {"state": ("present", "absent")}, removal(name, former, others, seen, target))


def _options(old: NetworkRecord | None, wanted: NetworkRecord) -> Differences:
    ports = [[str(port) for port in record.publish] if record else [] for record in (old, wanted)]
    pairs: Differences = {"publish": (ports[0], ports[1])}
    names = ("masquerade", "isolate", "routed")
    pairs.update((name, (getattr(old, name, None), getattr(wanted, name))) for name in names)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _bridges(
    wanted: NetworkRecord, former: t.Sequence[NetworkRecord], others: t.Sequence[NetworkRecord], seen: Observed
) -> Differences:
    records = [*others, wanted]
    gone = compare.unused_bridges(records, seen)
    found: Differences = {f"bridges.{name}": ("present", "absent") for name in gone}
    for name in sorted(compare.bridges_of([wanted, *former]).difference(gone)):
        if name in seen.our_bridges:
            pairs = compare.of_bridge(name, former, records, seen.host[name])
            found.update({f"bridges.{name}.{key}": pair for key, pair in pairs.items()})
        elif name not in seen.host and name in compare.bridges_of([wanted]):
            found[f"bridges.{name}"] = ("absent", "present")
    return found


def _interfaces(wanted: NetworkRecord, former: t.Sequence[NetworkRecord], seen: Observed) -> Differences:
    found: Differences = {}
    for interface in wanted.interfaces:
        pairs = compare.of_interface(interface, former, seen)
        found.update({f"interfaces.{interface.name}.{key}": pair for key, pair in pairs.items()})
    for name in compare.surplus_interfaces(wanted, seen):
        found[f"interfaces.{name}"] = ("present", "absent")
    if seen.namespace and not seen.inside["lo"].up:
        found["interfaces.lo.up"] = (False, True)
    if seen.namespace and differing(seen.inside["lo"]):
        found["interfaces.lo.sysctls"] = compare.sides(differing(seen.inside["lo"]))
    return found


def _routes(wanted: NetworkRecord, former: t.Sequence[NetworkRecord], seen: Observed) -> Differences:
    drop, add = compare.changed_routes(wanted, former, seen.routes)
    before, after = set(seen.routes), (set(seen.routes) - set(drop)) | set(add)
    texts = [[f"{route.to} via {route.via}" for route in sorted(some)] for some in (before, after)]
    return {"routes": (texts[0], texts[1])} if drop or add else {}
