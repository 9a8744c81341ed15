# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse and format published ports, and find their destinations. Pure functions.

See PublishedPort in address.py for what one is.
"""

from __future__ import annotations

import ipaddress
import typing as t

from .._base.errors import Conflict, InvalidOption
from .._ports.address import PublishedPort, invalid, parse_published
from .record import InterfaceRecord, NetworkRecord

_MOST_RULES = 1024


def family(address: str) -> int:
    return 6 if ":" in address else 4


def publish(text: str | int, known: t.Container[PublishedPort] = ()) -> PublishedPort:
    """Raises InvalidOption, also for what this host cannot forward. ``known``: the ports of the network's record."""
    entry = parse_published(text, known)
    if entry.ip == "::1":
        hint = "For clients on this host, publish at 127.0.0.1."
        raise invalid("publish", text, "Linux forwards nothing to and from ::1", hint)
    if entry.port != entry.target and entry.last - entry.port >= _MOST_RULES:
        raise invalid("publish", text, f"a range of other ports has {_MOST_RULES} at most")
    return entry


def forwarded(record: NetworkRecord) -> t.Iterator[tuple[InterfaceRecord, str]]:
    """The addresses whose gateway is this host, each with its interface: what the host forwards packets for."""
    for interface in record.interfaces:
        for address in interface.addresses:
            network = ipaddress.ip_interface(address).network
            if any(ipaddress.ip_address(gateway) in network for gateway in interface.host_gateways):
                yield interface, address


def targets(record: NetworkRecord) -> dict[int, tuple[InterfaceRecord, str]]:
    """Where published ports lead to, by family: the first address whose gateway is this host, with its interface."""
    found: dict[int, tuple[InterfaceRecord, str]] = {}
    for interface, address in forwarded(record):
        found.setdefault(family(address), (interface, address))
    return found


def check_ports(record: NetworkRecord, others: t.Mapping[str, NetworkRecord]) -> None:
    """Raises InvalidOption for a port that leads nowhere, and Conflict for one that is published already."""
    seen = [(other, entry) for other, its in others.items() for entry in its.publish]
    for entry in record.publish:
        if not {family(entry.ip)} & targets(record).keys() if entry.ip else not targets(record):
            hint = "Give subnet, or address and gateway; the gateway must be an address of the bridge on this host."
            what = "without an address of its family that has this host for its gateway"
            raise InvalidOption(f"{entry} cannot be published {what}.", hint=hint)
        bridge = targets(record)[4][0] if 4 in targets(record) else None
        if bridge and bridge.foreign and (entry.ip or "").startswith("127."):
            what = f"{entry} cannot be published: {bridge.bridge}, which Longshore has not made,"
            raise InvalidOption(f"{what} forwards nothing to and from loopback.", hint="Take another bridge.")
        for other, its in seen:
            if its.source.overlaps(entry.source):
                whose = "the same network" if other == record.name else f"the network {other}"
                raise Conflict(f"{entry} overlaps {its}, published by {whose}.")
        seen.append((record.name, entry))
