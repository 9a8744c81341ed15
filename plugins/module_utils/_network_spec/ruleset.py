# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate the nftables table from all networks. Pure. The table is replaced as a whole, in one transaction."""

from __future__ import annotations

import ipaddress
import typing as t

from .._ports.address import WILDCARDS, PublishedPort
from .publishing import family, forwarded, targets
from .record import NetworkRecord

_IP, _LOOPBACK = {4: "ip", 6: "ip6"}, {4: "127.0.0.0/8", 6: "::1"}
# A port published at 127.0.0.1 gets its destination before the kernel routes the packet, and route_localnet opens all of
# loopback to the bridge. So refuse packets from outside to loopback, or with a source in loopback.
_LOOPBACK_GUARD = [
    f'iifname != "lo" {_IP[version]} {way} {_LOOPBACK[version]} drop'
    for version in (4, 6)
    for way in ("daddr", "saddr")
]
_ROUTERS = ("icmp type redirect", "icmpv6 type nd-router-advert", "icmpv6 type nd-redirect")
# Replies, related errors, and published ports: a packet has the status dnat only after a dnat rule chose its destination.
_EXPECTED = ["ct state established,related accept", "ct status dnat accept"]


def ruleset(table: str, records: t.Iterable[NetworkRecord]) -> str:
    """Return the input of ``nft -f``; empty if no network needs a rule.

    The table has no sets, so its rules contain everything (firewall.digest).
    """
    incoming: list[str] = []
    outgoing: list[str] = []
    source: list[str] = []
    there = sorted(records, key=lambda each: each.name)
    for record in there:
        comment = f'comment "{record.name}"'
        for interface, address in targets(record).values():
            loopback = family(address) == 4 and not interface.foreign
            for entry in record.publish:
                rules = [f"{rule} {comment}" for rule in _published(entry, address, loopback)]
                outgoing += rules
                if not (entry.ip or "").startswith("127."):
                    incoming += rules
            if record.publish:
                source += [f"{rule} {comment}" for rule in _returning(address, loopback)]
        if record.masquerade:
            source += [f"{_leaving(interface.bridge, address)} {comment}" for interface, address in forwarded(record)]
    found, borders = "", list(_borders(there))
    if borders:
        chains = [
            _chain("guard", "filter hook prerouting priority -300", [*_LOOPBACK_GUARD, *_senders(there)]),
            _chain("forward", "filter hook forward priority 0", borders),
            _chain("prerouting", "nat hook prerouting priority -100", incoming),
            _chain("output", "nat hook output priority -100", outgoing),
            _chain("postrouting", "nat hook postrouting priority 100", source),
        ]
        found = f"table inet {table} {{\n{''.join(chains)}}}\n"
    if any(interface.foreign for record in there for interface in record.interfaces):
        # On a bridge of another program, the host and all neighbours may accept messages of routers. Longshore's ports
        # are ls-*.
        rules = [f'iifname "ls-*" {kind} drop' for kind in _ROUTERS]
        found += f"table bridge {table} {{\n{_chain('guard', 'filter hook prerouting priority -300', rules)}}}\n"
    return found


def _chain(name: str, hook: str, rules: t.Sequence[str]) -> str:
    lines = "".join(f"    {rule}\n" for rule in rules)
    return f"  chain {name} {{\n    type {hook}; policy accept;\n{lines}  }}\n"


def _published(entry: PublishedPort, address: str, loopback: bool) -> t.Iterator[str]:
    """Yield the rules of a published port. ``loopback``: whether to forward packets to loopback addresses, too."""
    version = family(address)
    if entry.ip and family(entry.ip) != version:
        return
    ip, to = _IP[version], address.partition("/")[0]
    others = "" if loopback else f" {ip} daddr != {_LOOPBACK[version]}"
    one = entry.ip and entry.ip not in WILDCARDS
    where = f"{ip} daddr {entry.ip}" if one else f"meta nfproto ipv{version}{others} fib daddr type local"
    count = entry.last - entry.port
    if entry.port == entry.target:
        ports = f"{entry.port}-{entry.last}" if count else str(entry.port)
        yield f"{where} {entry.protocol} dport {ports} dnat {ip} to {to}"
        return
    there = f"[{to}]" if version == 6 else to
    for step in range(count + 1):
        dport, target = entry.port + step, entry.target + step
        yield f"{where} {entry.protocol} dport {dport} dnat {ip} to {there}:{target}"


def _returning(address: str, loopback: bool) -> t.Iterator[str]:
    """Yield rules for clients of a published port whose replies would not return through the host: neighbours and loopback."""
    interface = ipaddress.ip_interface(address)
    ip = _IP[interface.version]
    for source in (str(interface.network), *([_LOOPBACK[4]] if loopback else [])):
        yield f"{ip} saddr {source} {ip} daddr {interface.ip} ct status dnat masquerade"


def _leaving(bridge: str, address: str) -> str:
    ip = _IP[family(address)]
    return f'{ip} saddr {address.partition("/")[0]} oifname != "{bridge}" masquerade'


def _senders(records: t.Sequence[NetworkRecord]) -> t.Iterator[str]:
    """Yield rules for packets from containers to the host, or through it. Drop packets with a source that the host does
    not reach through the same bridge, and messages that would change the routes of the host."""
    for bridge in _own_bridges(records):
        yield f'iifname "{bridge}" fib saddr . iif oif missing drop'
        yield from (f'iifname "{bridge}" {kind} drop' for kind in _ROUTERS)


def _borders(records: t.Sequence[NetworkRecord]) -> t.Iterator[str]:
    """Yield rules for forwarded packets. Containers get those from their bridge, to published ports, and those a
    network allows."""
    own = _own_bridges(records)
    drops = [f'oifname "{bridge}" drop' for bridge in own]
    allowed: list[str] = []
    bridges = sorted({interface.bridge for record in records for interface in record.interfaces})
    for record in records:
        comment = f'comment "{record.name}"'
        for interface, address in forwarded(record):
            bridge = interface.bridge
            to = f'oifname "{bridge}" {_IP[family(address)]} daddr {address.partition("/")[0]}'
            isolate, routed = record.isolated, bool(record.routed)
            if isolate == routed:
                # Containers on other bridges are an exception from the rule for other hosts.
                verdict = "drop" if isolate else "accept"
                allowed += [f'iifname "{other}" {to} {verdict} {comment}' for other in own if other != bridge]
            if routed:
                allowed.append(f"{to} accept {comment}")
            if interface.foreign:
                drops.append(f"{to} drop {comment}")
    if drops:
        yield from _EXPECTED
        yield from (f'iifname "{bridge}" oifname "{bridge}" accept' for bridge in bridges)
        yield from allowed
        yield from drops


def _own_bridges(records: t.Sequence[NetworkRecord]) -> list[str]:
    return sorted({each.bridge for record in records for each in record.interfaces if not each.foreign})
