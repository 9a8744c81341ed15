# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of nftables, as a pure function of all networks: replaced as a whole, in one transaction."""

from __future__ import annotations

import ipaddress
import typing as t

from .parse import Record, family, targets

_IP = {4: "ip", 6: "ip6"}


def ruleset(table: str, records: t.Iterable[Record]) -> str:
    """For ``nft -f``; empty where no network needs any rule."""
    forward: list[str] = []
    source: list[str] = []
    bridges: set[str] = set()
    for record in sorted(records, key=lambda each: str(each["name"])):
        comment = f'comment "{record["name"]}"'
        for version, address in targets(record).items():
            rules = [rule for entry in record["publish"] for rule in _published(entry, version, address)]
            forward += [f"{rule} {comment}" for rule in rules]
            if rules:
                source += [f"{rule} {comment}" for rule in _returning(version, address)]
                bridges |= {each["bridge"] for each in record["interfaces"] if address in each["addresses"]}
        if record["masquerade"]:
            source += [f"{rule} {comment}" for rule in _leaving(record)]
    if not forward and not source:
        return ""
    names = ", ".join(f'"{bridge}"' for bridge in sorted(bridges))
    # With route_localnet a neighbour could reach what listens on loopback alone.
    guard = [f"iifname {{ {names} }} ip daddr 127.0.0.0/8 drop"] if bridges else []
    chains = [
        _chain("guard", "filter hook prerouting priority -300", guard),
        _chain("prerouting", "nat hook prerouting priority -100", forward),
        _chain("output", "nat hook output priority -100", forward),
        _chain("postrouting", "nat hook postrouting priority 100", source),
    ]
    return f"table inet {table} {{\n{''.join(chains)}}}\n"


def _chain(name: str, hook: str, rules: t.Sequence[str]) -> str:
    lines = "".join(f"    {rule}\n" for rule in rules)
    return f"  chain {name} {{\n    type {hook}; policy accept;\n{lines}  }}\n"


def _published(entry: t.Mapping[str, t.Any], version: int, address: str) -> t.Iterator[str]:
    if entry["ip"] and family(entry["ip"]) != version:
        return
    ip, to = _IP[version], address.partition("/")[0]
    nf = "ipv4" if version == 4 else "ipv6"
    where = f"{ip} daddr {entry['ip']}" if entry["ip"] else f"meta nfproto {nf} fib daddr type local"
    count = entry["last"] - entry["port"]
    if entry["port"] == entry["target"]:
        ports = f"{entry['port']}-{entry['last']}" if count else str(entry["port"])
        yield f"{where} {entry['protocol']} dport {ports} dnat {ip} to {to}"
        return
    there = f"[{to}]" if version == 6 else to
    for step in range(count + 1):
        dport, target = entry["port"] + step, entry["target"] + step
        yield f"{where} {entry['protocol']} dport {dport} dnat {ip} to {there}:{target}"


def _returning(version: int, address: str) -> t.Iterator[str]:
    """What the answer to a published port would not come back through the host for: neighbours, and loopback."""
    ip, interface = _IP[version], ipaddress.ip_interface(address)
    sources = [str(interface.network), *(["127.0.0.0/8"] if version == 4 else [])]
    for source in sources:
        yield f"{ip} saddr {source} {ip} daddr {interface.ip} ct status dnat masquerade"


def _leaving(record: Record) -> t.Iterator[str]:
    for interface in record["interfaces"]:
        for address in interface["addresses"]:
            if any(family(gateway) == family(address) for gateway in interface["gateways"]):
                ip = _IP[family(address)]
                yield f'{ip} saddr {address.partition("/")[0]} oifname != "{interface["bridge"]}" masquerade'
