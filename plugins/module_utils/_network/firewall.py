# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our table of nftables in the kernel: loaded by nft, looked at over netlink, so that a look starts no process."""

from __future__ import annotations

import contextlib
import hashlib
import os

from .._engine.errors import EngineError, InvalidInput
from .._engine.files import read_text, remove_file, write_text
from .._engine.process import SEARCH_PATH, run
from .._engine.waiting import Deadline

_FORWARD_HOOK, _DROP = 2, 0  # NF_INET_FORWARD, NF_DROP
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}


def program() -> str:
    """Raises InvalidInput where nft is not on this host."""
    for directory in SEARCH_PATH.split(":"):
        if os.access(f"{directory}/nft", os.X_OK):
            return f"{directory}/nft"
    raise InvalidInput(
        "nft is not on this host, and publish and masquerade need it.",
        hint="The role longshore.oci.runtime installs it (package nftables).",
    )


def load(table: str, body: str, path: str, deadline: Deadline) -> None:
    """Replace the table, or remove it where ``body`` is empty. In one transaction: there is no moment without rules.

    ``path`` is a file of ours for the time being. Raises EngineError.
    """
    # Declared first, so that it can be deleted.
    write_text(path, f"table inet {table}\ndelete table inet {table}\n{body}")
    argv = [program(), "-f", path]
    try:
        done = run(argv, deadline, what="load the rules of the networks")
    finally:
        remove_file(path)
    if done.rc != 0:
        said = done.stderr.strip()[-1000:]
        hint = "Does the kernel have nf_tables with nat (modules nft_nat, nft_masq, nft_fib_inet)?"
        raise EngineError(f"nft did not take the rules of the networks: {said}", hint=hint, argv=argv, rc=done.rc)


def digest(table: str) -> str:
    """Of all chains and rules in the table as the kernel has them; empty where there is no such table, or nothing in it."""
    from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
    from pyroute2.netlink.nfnetlink.nftsocket import NFT_MSG_GETRULE, NFT_MSG_NEWRULE, NFTSocket

    class Rule(nfgen_msg):  # type: ignore[misc]
        """As bytes: what pyroute2 makes of them depends on its version."""

        prefix = "NFTA_RULE_"
        nla_map = tuple((f"NFTA_RULE_{name}", kind) for name, kind in (
            ("UNSPEC", "none"), ("TABLE", "asciiz"), ("CHAIN", "asciiz"), ("HANDLE", "cdata"), ("EXPRESSIONS", "cdata"),
            ("COMPAT", "cdata"), ("POSITION", "cdata"), ("USERDATA", "cdata"),
        ))  # fmt: skip

    with contextlib.closing(NFTSocket(nfgen_family=1)) as nft:
        nft.register_policy({NFT_MSG_NEWRULE | NFNL_SUBSYS_NFTABLES << 8: Rule})
        request = Rule()
        request["attrs"] = [["NFTA_RULE_TABLE", table]]
        found = [
            [rule.get_attr(f"NFTA_RULE_{name}") for name in ("CHAIN", "EXPRESSIONS", "USERDATA")]
            for rule in nft.request_get(request, NFT_MSG_GETRULE)
            if rule.get_attr("NFTA_RULE_TABLE") == table
        ]
    return hashlib.sha256(repr(found).encode()).hexdigest() if found else ""


def others_forward(table: str) -> bool:
    """Whether somebody else has rules about what is forwarded, in whichever kind of table."""
    legacy = [read_text(f"/proc/net/{name}_tables_names") or "" for name in ("ip", "ip6")]
    return bool(_others(table)) or any("filter" in text.split() for text in legacy)


def droppers(table: str) -> list[tuple[str, str]]:
    """Tables (``ip filter``) and chains of others that drop what is forwarded and no rule of theirs accepts.

    Those of iptables-legacy are not among them.
    """
    return [(where, chain) for where, chain, policy in _others(table) if policy == _DROP]


def _others(table: str) -> list[tuple[str, str, int]]:
    """Table, chain and policy of all other chains that see what is forwarded."""
    from pyroute2.netlink.nfnetlink.nftsocket import NFT_MSG_GETCHAIN, NFTSocket, nft_chain_msg

    found = []
    with contextlib.closing(NFTSocket(nfgen_family=0)) as nft:
        for chain in nft.request_get(nft_chain_msg(), NFT_MSG_GETCHAIN):
            hook, name = chain.get_attr("NFTA_CHAIN_HOOK"), chain.get_attr("NFTA_CHAIN_TABLE")
            family = _FAMILIES.get(chain["nfgen_family"])
            if hook is not None and hook.get_attr("NFTA_HOOK_HOOKNUM") == _FORWARD_HOOK and family:
                found.append(
                    (f"{family} {name}", chain.get_attr("NFTA_CHAIN_NAME"), chain.get_attr("NFTA_CHAIN_POLICY"))
                )
    return [each for each in found if each[0] != f"inet {table}"]
