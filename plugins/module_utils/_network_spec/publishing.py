# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse and format published ports, and find their destinations. Pure functions.

A published port is a JSON object of ip (None: all addresses of the host), port, last, target and protocol.
"""

from __future__ import annotations

import ipaddress
import typing as t

from .._base.errors import Conflict, InvalidInput
from .._ports.address import PublishedPort, invalid, parse_published

Record = dict[str, t.Any]  # of a network; see parse.py
_MOST_RULES = 1024


def family(address: str) -> int:
    return 6 if ":" in address else 4


def publish(text: str | int) -> dict[str, t.Any]:
    """Parse a published port. Raises InvalidInput, also for ports that this host cannot forward."""
    entry = parse_published(text)
    if entry.ip == "::1":
        hint = "For clients on this host, publish at 127.0.0.1."
        raise invalid("publish", text, "Linux forwards nothing to and from ::1", hint)
    if entry.port != entry.target and entry.last - entry.port >= _MOST_RULES:
        raise invalid("publish", text, f"a range to other ports can have at most {_MOST_RULES} ports")
    return entry._asdict()


def published(entry: t.Mapping[str, t.Any]) -> str:
    """Return the text for a published port, which publish() can parse."""
    return str(PublishedPort(**entry))


def forwarded(record: Record) -> t.Iterator[tuple[dict[str, t.Any], str]]:
    """Yield the addresses whose gateway is this host, each with its interface. The host forwards packets for them."""
    for interface in record["interfaces"]:
        for address in interface["addresses"]:
            network = ipaddress.ip_interface(address).network
            if any(ipaddress.ip_address(gateway) in network for gateway in interface["host_gateways"]):
                yield interface, address


def targets(record: Record) -> dict[int, tuple[dict[str, t.Any], str]]:
    """Return the destinations of published ports by family: the first address whose gateway is this host, and its interface."""
    found: dict[int, tuple[dict[str, t.Any], str]] = {}
    for interface, address in forwarded(record):
        found.setdefault(family(address), (interface, address))
    return found


def check_ports(record: Record, others: t.Mapping[str, Record]) -> None:
    """Raises InvalidInput for a port without a destination, and Conflict for a port that is already published."""
    seen = [(other, entry) for other, its in others.items() for entry in its["publish"]]
    for entry in record["publish"]:
        if not {family(entry["ip"])} & targets(record).keys() if entry["ip"] else not targets(record):
            hint = "Set subnet, or address and gateway. The gateway must be an address of the bridge on this host."
            what = "without an address of its family whose gateway is this host"
            raise InvalidInput(f"{published(entry)} cannot be published {what}.", hint=hint)
        bridge = targets(record)[4][0] if 4 in targets(record) else None
        if bridge and bridge["foreign"] and (entry["ip"] or "").startswith("127."):
            what = f"{published(entry)} cannot be published: {bridge['bridge']}, which belongs to another program,"
            raise InvalidInput(f"{what} forwards nothing to and from loopback.", hint="Use another bridge.")
        for other, its in seen:
            if PublishedPort(**its).source.overlaps(PublishedPort(**entry).source):
                whose = "the same network" if other == record["name"] else f"the network {other}"
                raise Conflict(f"{published(entry)} overlaps {published(its)}, published by {whose}.")
        seen.append((record["name"], entry))
