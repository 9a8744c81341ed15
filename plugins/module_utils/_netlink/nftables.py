# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the kernel's nftables rules over netlink, without starting a process."""

from __future__ import annotations

import contextlib
import errno
import typing as t

from .netlink import ask

FORWARD, DROP = 2, 0  # NF_INET_FORWARD, NF_DROP
_FAMILIES = {1: "inet", 2: "ip", 7: "bridge", 10: "ip6"}
_NOT_THERE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT)


class Chain(t.NamedTuple):
    table: str  # with its family, as in nft: ``ip filter``
    name: str
    hook: int | None
    priority: int | None
    policy: int | None

    @property
    def ip(self) -> bool:
        """Tell whether the chain sees packets, and not frames of a bridge."""
        return not self.table.startswith("bridge ")


class Rule(t.NamedTuple):
    """A rule. ``expressions`` are raw attributes as in libnftnl, because their decoding differs between versions of pyroute2."""

    chain: str
    expressions: bytes
    comment: bytes | None


def chains() -> list[Chain]:
    """Return the chains of all tables of IP and of bridges, none if the kernel has no nf_tables."""
    from pyroute2.netlink.nfnetlink.nftsocket import NFT_MSG_GETCHAIN, NFTSocket, nft_chain_msg

    found = []
    with contextlib.closing(NFTSocket(nfgen_family=0)) as nft:
        for chain in ask(
            "list the rules", lambda: nft.request_get(nft_chain_msg(), NFT_MSG_GETCHAIN), ignored=_NOT_THERE
        ):
            family, hook = _FAMILIES.get(chain["nfgen_family"]), chain.get_attr("NFTA_CHAIN_HOOK")
            number, priority = (
                hook.get_attr(f"NFTA_HOOK_{name}") if hook else None for name in ("HOOKNUM", "PRIORITY")
            )
            name, policy = chain.get_attr("NFTA_CHAIN_NAME"), chain.get_attr("NFTA_CHAIN_POLICY")
            if family:
                table = f"{family} {chain.get_attr('NFTA_CHAIN_TABLE')}"
                found.append(Chain(table, name, number, priority, policy))
    return found


def rules(table: str) -> list[Rule]:
    """Return the rules of one table (``inet longshore``), in their order."""
    from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
    from pyroute2.netlink.nfnetlink.nftsocket import NFT_MSG_GETRULE, NFT_MSG_NEWRULE, NFTSocket

    class Message(nfgen_msg):  # type: ignore[misc]
        prefix = "NFTA_RULE_"
        nla_map = tuple((f"NFTA_RULE_{name}", kind) for name, kind in (
            ("UNSPEC", "none"), ("TABLE", "asciiz"), ("CHAIN", "asciiz"), ("HANDLE", "cdata"), ("EXPRESSIONS", "cdata"),
            ("COMPAT", "cdata"), ("POSITION", "cdata"), ("USERDATA", "cdata"),
        ))  # fmt: skip

    family, name = table.split(" ", 1)
    number = next(number for number, known in _FAMILIES.items() if known == family)
    with contextlib.closing(NFTSocket(nfgen_family=number)) as nft:
        nft.register_policy({NFT_MSG_NEWRULE | NFNL_SUBSYS_NFTABLES << 8: Message})
        request = Message()
        request["attrs"] = [["NFTA_RULE_TABLE", name]]
        return [
            Rule(*(message.get_attr(f"NFTA_RULE_{field}") for field in ("CHAIN", "EXPRESSIONS", "USERDATA")))
            for message in ask(f"list the rules of {table}", lambda: nft.request_get(request, NFT_MSG_GETRULE))
            if message.get_attr("NFTA_RULE_TABLE") == name
        ]
