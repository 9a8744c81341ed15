# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse and format published ports, and find their destinations. Pure functions.

A published port is a JSON object of ip (None: all addresses of the host), port, last, target and protocol.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._base.errors import Conflict, InvalidInput

Record = dict[str, t.Any]  # of a network; see parse.py
_MOST_RULES = 1024
_PUBLISH = re.compile(r"(?:(\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(\d+)(?:-(\d+))?:(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?")


def family(address: str) -> int:
    return 6 if ":" in address else 4


def publish(text: str) -> dict[str, t.Any]:
    """Parse a published port. Raises InvalidInput."""
    found = _PUBLISH.fullmatch(text)
    if not found:
        hint = "Write [IP:]PORT[-LAST]:PORT[/tcp|udp|sctp], with an IPv6 address in brackets."
        raise InvalidInput(f"publish cannot be {text!r}.", hint=hint)
    ip, first, last, target, target_last, protocol = found.groups()
    port, end, inner = int(first), int(last or first), int(target)
    if not (0 < port <= end < 65536 and inner > 0 and inner + end - port < 65536):
        raise InvalidInput(f"publish cannot be {text!r}: a port is a number from 1 to 65535.")
    if target_last and int(target_last) - inner != end - port:
        raise InvalidInput(f"publish cannot be {text!r}: the two ranges have different lengths.")
    if inner != port and end - port >= _MOST_RULES:
        raise InvalidInput(f"publish cannot be {text!r}: a range to other ports can have at most {_MOST_RULES} ports.")
    return {"ip": _host(ip, text), "port": port, "last": end, "target": inner, "protocol": protocol or "tcp"}


def _host(ip: str | None, text: str) -> str | None:
    if ip is None:
        return None
    try:
        address = ipaddress.ip_address(ip.strip("[]"))
    except ValueError as exc:
        raise InvalidInput(f"publish cannot be {text!r}: {exc}.") from exc
    if address.is_multicast or str(address) == "255.255.255.255":
        raise InvalidInput(f"publish cannot be {text!r}: this is not the address of one host.")
    if address.is_unspecified:
        raise InvalidInput(f"publish cannot be {text!r}.", hint="To use all addresses of the host, omit the address.")
    if address.is_loopback and address.version == 6:
        hint = "For clients on this host, publish at 127.0.0.1."
        raise InvalidInput(f"publish cannot be {text!r}: Linux forwards nothing to and from ::1.", hint=hint)
    return str(address)


def published(entry: t.Mapping[str, t.Any]) -> str:
    """Return the text for a published port, which publish() can parse."""
    ip = f"[{entry['ip']}]:" if ":" in (entry["ip"] or "") else f"{entry['ip']}:" if entry["ip"] else ""
    length = entry["last"] - entry["port"]
    ranges = [f"{start}-{start + length}" if length else str(start) for start in (entry["port"], entry["target"])]
    return f"{ip}{':'.join(ranges)}/{entry['protocol']}"


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
            if (
                its["protocol"] == entry["protocol"] and its["port"] <= entry["last"] and entry["port"] <= its["last"]
                and (its["ip"] is None or entry["ip"] is None or its["ip"] == entry["ip"])
            ):  # fmt: skip
                whose = "the same network" if other == record["name"] else f"the network {other}"
                raise Conflict(f"{published(entry)} overlaps {published(its)}, published by {whose}.")
        seen.append((record["name"], entry))
