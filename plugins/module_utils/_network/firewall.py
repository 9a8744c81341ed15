# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Longshore's nftables table in the kernel: nft loads it, and a digest detects changes."""

from __future__ import annotations

import contextlib
import hashlib
import os

from .._base.deadline import Deadline
from .._base.errors import LongshoreError, MissingPrerequisite
from .._base.files import has_no_room, remove_file, write_text
from .._base.program import find_program, run
from .._netlink import nftables


def program() -> str:
    """Return the path of nft. Raises MissingPrerequisite if nft is not on this host."""
    path = find_program("nft")
    if path is None:
        raise MissingPrerequisite(
            "nft is not on this host, and networks need it.",
            hint="The role longshore.oci.runtime installs it (package nftables).",
        )
    return path


def load(table: str, body: str, path: str, kept: str, deadline: Deadline) -> None:
    """Replace the table, or remove it if ``body`` is empty. One transaction, so there is no moment without rules.

    ``path`` is a temporary file. The loaded rules stay in the file ``kept``: with it, a unit of the host can bring the rules back
    that a reload of the host's firewall removes. Raises LongshoreError.
    """
    # Declare the table first, so that it can be deleted. A kernel may not support tables of bridges, and most hosts need none.
    there = {f"inet {table}", *(chain.table for chain in _chains(table))}
    there.update(name for name in _names(table) if f"table {name} " in body)
    text = "".join(f"table {name}\ndelete table {name}\n" for name in sorted(there)) + body
    on_disk = path
    with contextlib.ExitStack() as stack:
        stack.callback(remove_file, on_disk)
        try:
            write_text(path, text)
        except LongshoreError as exc:
            if not has_no_room(exc):
                raise
            memory = stack.enter_context(open(os.memfd_create("rules"), "w", encoding="utf-8"))
            memory.write(text)
            memory.flush()
            path = f"/proc/{os.getpid()}/fd/{memory.fileno()}"
        argv = [program(), "-f", path]
        done = run(argv, deadline, what="load the rules of the networks")
        if done.rc == 0 and body and path == on_disk:
            os.rename(path, kept)
        elif done.rc == 0:  # Also where the disk is full: none is better than those of before.
            remove_file(kept)
    if done.rc != 0:
        said = done.stderr.strip()[-1000:]
        hint = "The kernel needs nf_tables with nat (modules nft_nat, nft_masq, nft_fib_inet)."
        raise LongshoreError(f"nft did not accept the rules of the networks: {said}", hint=hint, argv=argv, rc=done.rc)


def text_digest(body: str) -> str:
    """Of the table as text; empty for none."""
    return hashlib.sha256(body.encode()).hexdigest() if body else ""


def digest(table: str) -> str:
    """Return the digest of the table's chains and rules in the kernel. Empty if there is no such table."""
    chains = _chains(table)
    if not chains:
        return ""
    rules = [nftables.rules(name) for name in sorted({chain.table for chain in chains})]
    return hashlib.sha256(repr([chains, rules]).encode()).hexdigest()


def _names(table: str) -> tuple[str, str]:
    """Return the names of the table for packets, and of the one for frames."""
    return f"inet {table}", f"bridge {table}"


def _chains(table: str) -> list[nftables.Chain]:
    return [chain for chain in nftables.chains() if chain.table in _names(table)]


def has_packet_lock() -> bool:
    """Tell whether CRIU drops all packets in the namespace of this thread. The kernel does not list rules of iptables-legacy."""
    return any(
        chain.table.startswith("inet CRIU-") or (chain.name == "CRIU" and chain.table in ("ip filter", "ip6 filter"))
        for chain in nftables.chains()
    )
