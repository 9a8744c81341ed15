# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of nftables, as a pure function of all networks: replaced as a whole, in one transaction."""

from __future__ import annotations

import ipaddress
import typing as t

from .publishing import Record, family, forwarded, targets

# Whoever has a route for 127.0.0.1 by this host could have what is published there, for that is given its destination before the
# kernel looks where it goes; and with route_localnet, what listens on loopback alone.
_GUARD = 'iifname != "lo" ip daddr 127.0.0.0/8 drop'
_IP, _LOOPBACK = {4: "ip", 6: "ip6"}, {4: "127.0.0.0/8", 6: "::1"}


def ruleset(table: str, records: t.Iterable[Record]) -> str:
    """For ``nft -f``; empty where no network needs any rule.

    There are no sets in it, so all of it is in its rules (firewall.digest).
    """
    incoming: list[str] = []
    outgoing: list[str] = []
    source: list[str] = []
    guard: list[str] = []
    for record in sorted(records, key=lambda each: str(each["name"])):
        comment = f'comment "{record["name"]}"'
        for interface, address in targets(record).values():
            loopback = family(address) == 4 and not interface["foreign"]
            for entry in record["publish"]:
                rules = [f"{rule} {comment}" for rule in _published(entry, address, loopback)]
                outgoing += rules
                if not (entry["ip"] or "").startswith("127."):
                    incoming += rules
            if record["publish"]:
                source += [f"{rule} {comment}" for rule in _returning(address, loopback)]
                if loopback:
                    guard = [_GUARD]
        if record["masquerade"]:
            source += [
                f"{_leaving(interface['bridge'], address)} {comment}" for interface, address in forwarded(record)
            ]
    if not outgoing and not source:
        return ""
    chains = [
        _chain("guard", "filter hook prerouting priority -300", guard),
        _chain("prerouting", "nat hook prerouting priority -100", incoming),
        _chain("output", "nat hook output priority -100", outgoing),
        _chain("postrouting", "nat hook postrouting priority 100", source),
    ]
    return f"table inet {table} {{\n{''.join(chains)}}}\n"


def _chain(name: str, hook: str, rules: t.Sequence[str]) -> str:
    lines = "".join(f"    {rule}\n" for rule in rules)
    return f"  chain {name} {{\n    type {hook}; policy accept;\n{lines}  }}\n"


def _published(entry: t.Mapping[str, t.Any], address: str, loopback: bool) -> t.Iterator[str]:
    """``loopback``: whether what is sent to loopback addresses can be forwarded, too."""
    version = family(address)
    if entry["ip"] and family(entry["ip"]) != version:
        return
    ip, to = _IP[version], address.partition("/")[0]
    others = "" if loopback else f" {ip} daddr != {_LOOPBACK[version]}"
    where = f"{ip} daddr {entry['ip']}" if entry["ip"] else f"meta nfproto ipv{version}{others} fib daddr type local"
    count = entry["last"] - entry["port"]
    if entry["port"] == entry["target"]:
        ports = f"{entry['port']}-{entry['last']}" if count else str(entry["port"])
        yield f"{where} {entry['protocol']} dport {ports} dnat {ip} to {to}"
        return
    there = f"[{to}]" if version == 6 else to
    for step in range(count + 1):
        dport, target = entry["port"] + step, entry["target"] + step
        yield f"{where} {entry['protocol']} dport {dport} dnat {ip} to {there}:{target}"


def _returning(address: str, loopback: bool) -> t.Iterator[str]:
    """What the answer to a published port would not come back through the host for: neighbours, and loopback."""
    interface = ipaddress.ip_interface(address)
    ip = _IP[interface.version]
    for source in (str(interface.network), *([_LOOPBACK[4]] if loopback else [])):
        yield f"{ip} saddr {source} {ip} daddr {interface.ip} ct status dnat masquerade"


def _leaving(bridge: str, address: str) -> str:
    ip = _IP[family(address)]
    return f'{ip} saddr {address.partition("/")[0]} oifname != "{bridge}" masquerade'
