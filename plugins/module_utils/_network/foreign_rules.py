# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find forwarding rules of other programs. They are decisive: no table can accept packets that another one drops."""

from __future__ import annotations

import struct
import typing as t

from .._base.files import read_text
from .._netlink import nftables
from .._network_spec.names import TABLE

# From the kernel's nf_tables.h.
_EXPRESSION_NAME, _EXPRESSION_DATA, _IMMEDIATE_DATA, _VERDICT, _VERDICT_CODE, _TARGET_NAME = 1, 2, 2, 2, 1, 1
_NO_CONDITION = {"counter", "log", "reject", "immediate", "target"}


def forward(table: str) -> bool:
    """Tell whether another program has rules about forwarded packets in any kind of table, or needs forwarding, as networks of
    another state directory do."""
    legacy = [read_text(f"/proc/net/{name}_tables_names") or "" for name in ("ip", "ip6")]
    others = [chain for chain in nftables.chains() if chain.table != f"inet {table}" and chain.ip]
    ours = any(chain.table.startswith(f"inet {TABLE}") for chain in others)
    forwards = any(chain.hook == nftables.FORWARD for chain in others)
    return ours or forwards or any("filter" in text.split() for text in legacy)


def closed_to(bridges: t.Collection[str], table: str) -> list[tuple[str, str]]:
    """Return foreign tables and chains that drop or reject all other forwarded packets, by policy or by a rule without a
    condition. Ignore those with a rule for all of these bridges.

    The kernel does not list the tables of iptables-legacy.
    """
    found = []
    for chain in nftables.chains():
        if chain.hook != nftables.FORWARD or chain.table == f"inet {table}" or not chain.ip:
            continue
        rules = nftables.rules(chain.table)
        closes = chain.policy == nftables.DROP or any(
            rule.chain == chain.name and _refuses_all(rule.expressions) for rule in rules
        )
        # iptables and nft compare the name of an interface with the NUL at its end.
        if closes and not all(any(f"{bridge}\0".encode() in rule.expressions for rule in rules) for bridge in bridges):
            found.append((chain.table, chain.name))
    return found


def warnings(bridges: t.Sequence[str], table: str) -> list[str]:
    """Return a warning for each chain that closed_to() returns. ``table``: that of Longshore."""
    names = " and ".join(bridges)
    return [
        f"The chain {chain} of the table {other} drops forwarded packets that none of its rules accepts, and no other table can"
        f" accept them. Add rules there that accept packets from and to {names}.{_advice(other, bridges)}"
        for other, chain in closed_to(bridges, table)
    ]


def _advice(table: str, bridges: t.Iterable[str]) -> str:
    """Return the command that opens the firewall with this table, or an empty text."""
    if table != "inet firewalld":
        return ""
    options = " ".join(f"--add-interface {bridge}" for bridge in bridges)
    return f" Permanently: firewall-cmd --permanent --zone trusted {options}; firewall-cmd --reload"


def _refuses_all(expressions: bytes) -> bool:
    """Tell whether a rule drops or rejects all packets."""
    found = [dict(_attributes(each)) for _kind, each in _attributes(expressions)]
    names = [each.get(_EXPRESSION_NAME, b"").decode().rstrip("\0") for each in found]
    ends = [_refuses(name, each.get(_EXPRESSION_DATA, b"")) for name, each in zip(names, found)]
    return _NO_CONDITION.issuperset(names) and any(ends)


def _refuses(name: str, data: bytes) -> bool:
    """Tell whether an expression drops or rejects. ``target`` is the expression of iptables-nft."""
    if name == "reject":
        return True
    fields = dict(_attributes(data))
    if name == "target":
        return fields.get(_TARGET_NAME, b"").rstrip(b"\0") in (b"REJECT", b"DROP")
    verdict = dict(_attributes(dict(_attributes(fields.get(_IMMEDIATE_DATA, b""))).get(_VERDICT, b"")))
    return name == "immediate" and verdict.get(_VERDICT_CODE) == struct.pack(">i", nftables.DROP)


def _attributes(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    """Yield the type and value of each attribute (struct nlattr)."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
