# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our table of nftables in the kernel: loaded by nft, looked at over netlink, so that a look starts no process."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
import typing as t

from .._engine.errors import EngineError, InvalidInput
from .._engine.files import read_text, remove_file, write_text
from .._engine.process import SEARCH_PATH, run
from .._engine.waiting import Deadline
from .names import TABLE
from .netlink import ask

_FORWARD, _DROP = 2, 0  # NF_INET_FORWARD, NF_DROP
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}
_NOT_THERE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT)


def program() -> str:
    """Raises InvalidInput where nft is not on this host."""
    path = shutil.which("nft", path=SEARCH_PATH)
    if path is None:
        raise InvalidInput(
            "nft is not on this host, and publish and masquerade need it.",
            hint="The role longshore.oci.runtime installs it (package nftables).",
        )
    return path


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
    """Of all rules of the table, and what its chains are, as the kernel has them; empty where there is no such table."""
    from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
    from pyroute2.netlink.nfnetlink.nftsocket import NFT_MSG_GETRULE, NFT_MSG_NEWRULE, NFTSocket

    class Rule(nfgen_msg):  # type: ignore[misc]
        """As bytes: what pyroute2 makes of them depends on its version."""

        prefix = "NFTA_RULE_"
        nla_map = tuple((f"NFTA_RULE_{name}", kind) for name, kind in (
            ("UNSPEC", "none"), ("TABLE", "asciiz"), ("CHAIN", "asciiz"), ("HANDLE", "cdata"), ("EXPRESSIONS", "cdata"),
            ("COMPAT", "cdata"), ("POSITION", "cdata"), ("USERDATA", "cdata"),
        ))  # fmt: skip

    chains = [chain for chain in _chains() if chain.table == f"inet {table}"]
    if not chains:
        return ""
    with contextlib.closing(NFTSocket(nfgen_family=1)) as nft:
        nft.register_policy({NFT_MSG_NEWRULE | NFNL_SUBSYS_NFTABLES << 8: Rule})
        request = Rule()
        request["attrs"] = [["NFTA_RULE_TABLE", table]]
        rules = [
            [rule.get_attr(f"NFTA_RULE_{name}") for name in ("CHAIN", "EXPRESSIONS", "USERDATA")]
            for rule in ask("list the rules of networks", lambda: nft.request_get(request, NFT_MSG_GETRULE))
            if rule.get_attr("NFTA_RULE_TABLE") == table
        ]
    return hashlib.sha256(repr([chains, rules]).encode()).hexdigest()


def others_forward(table: str) -> bool:
    """Whether somebody else has rules about what is forwarded, in whichever kind of table; or needs it, as networks of another
    state directory do."""
    legacy = [read_text(f"/proc/net/{name}_tables_names") or "" for name in ("ip", "ip6")]
    others = [chain for chain in _chains() if chain.table != f"inet {table}"]
    ours = any(chain.table.startswith(f"inet {TABLE}") for chain in others)
    return ours or any(chain.hook == _FORWARD for chain in others) or any("filter" in text.split() for text in legacy)


def droppers(table: str) -> list[tuple[str, str]]:
    """Tables (``ip filter``) and chains of others whose policy is to drop what is forwarded.

    Those of iptables-legacy are not among them.
    """
    found = [chain for chain in _chains() if (chain.hook, chain.policy) == (_FORWARD, _DROP)]
    return [(chain.table, chain.name) for chain in found if chain.table != f"inet {table}"]


class _Chain(t.NamedTuple):
    table: str  # with its family, as nft has it
    name: str
    hook: int | None
    priority: int | None
    policy: int | None


def _chains() -> list[_Chain]:
    """Of all tables of IP; none where the kernel has no nf_tables."""
    from pyroute2.netlink.nfnetlink.nftsocket import NFT_MSG_GETCHAIN, NFTSocket, nft_chain_msg

    found = []
    with contextlib.closing(NFTSocket(nfgen_family=0)) as nft:
        for chain in ask("list the rules", lambda: nft.request_get(nft_chain_msg(), NFT_MSG_GETCHAIN), fine=_NOT_THERE):
            family, hook = _FAMILIES.get(chain["nfgen_family"]), chain.get_attr("NFTA_CHAIN_HOOK")
            number, priority = (
                hook.get_attr(f"NFTA_HOOK_{name}") if hook else None for name in ("HOOKNUM", "PRIORITY")
            )
            name, policy = chain.get_attr("NFTA_CHAIN_NAME"), chain.get_attr("NFTA_CHAIN_POLICY")
            if family:
                table = f"{family} {chain.get_attr('NFTA_CHAIN_TABLE')}"
                found.append(_Chain(table, name, number, priority, policy))
    return found
