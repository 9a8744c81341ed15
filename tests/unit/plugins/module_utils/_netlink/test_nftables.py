# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules as the real kernel has them, in a network namespace of the test."""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns, nftables
from ansible_collections.longshore.oci.plugins.module_utils._netlink.nftables import Chain

RULES = """
table inet one {
    chain in { type filter hook forward priority 5; policy drop; tcp dport 80 accept comment "web"; udp dport 53 drop; }
    chain plain { }
}
table ip one {
    chain in { tcp dport 81 accept; }
}
table bridge two {
    chain b { type filter hook forward priority 0; }
}
"""


@pytest.fixture
def name() -> t.Iterator[str]:
    chosen = f"longshore-unit-nft-{os.getpid()}"
    netns.create(chosen)
    yield chosen
    netns.remove(chosen)


def test_without_any(name: str) -> None:
    assert netns.inside(name, nftables.chains) == []
    assert netns.inside(name, lambda: nftables.rules("inet one")) == []


def test_what_nft_has_loaded(name: str) -> None:
    subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=RULES, text=True, check=True)
    found = netns.inside(name, nftables.chains)
    assert sorted(found, key=lambda chain: (chain.table, chain.name)) == [
        Chain("bridge two", "b", nftables.FORWARD, 0, 1), Chain("inet one", "in", nftables.FORWARD, 5, nftables.DROP),
        Chain("inet one", "plain", None, None, None), Chain("ip one", "in", None, None, None),
    ]  # fmt: skip
    assert [chain.table for chain in found if not chain.ip] == ["bridge two"]
    rules = netns.inside(name, lambda: nftables.rules("inet one"))
    assert [rule.chain for rule in rules] == ["in", "in"]
    assert b"web" in (rules[0].comment or b"")
    assert rules[1].comment is None
    assert rules[0].expressions != rules[1].expressions
    # A table of the same name in another family is another one.
    assert len(netns.inside(name, lambda: nftables.rules("ip one"))) == 1
