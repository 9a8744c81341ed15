# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of others about what is forwarded."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._network import forwarding
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import Interface
from ansible_collections.longshore.oci.tests.unit.network_host import OTHER, POOL, WEB, Host, host

__all__ = ["host"]  # the fixture


FORWARD = "type filter hook forward priority 0; policy"


CLOSED = f"chain ip filter FORWARD {{ {FORWARD} accept; }}; add rule ip filter FORWARD"


# Rules of others as nft reads them, and whether a warning is due.
OTHERS = {
    "policy": (f"chain ip filter FORWARD {{ {FORWARD} drop; }}", True),
    "rejecting": (f"{CLOSED} ct state established accept; add rule ip filter FORWARD counter reject", True),
    "dropping": (f"{CLOSED} log counter drop", True),
    "open": (f"{CLOSED} tcp dport 25 reject; add rule ip filter FORWARD ct state invalid drop", False),
    "accepting": (f"{CLOSED} iifname longshore0 accept; add rule ip filter FORWARD reject", False),
    "of another bridge": (f"{CLOSED} iifname longshore00 accept; add rule ip filter FORWARD reject", True),
    "of another hook": ("chain ip filter INPUT { type filter hook input priority 0; policy drop; }", False),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_who_does_not_let_packets_through(host: Host, kind: str) -> None:
    words, warned = OTHERS[kind]
    host.does("sh", "-c", f"nft 'add table ip filter; add {words}'")
    outcome = host.converge(WEB, POOL)
    assert [
        "The chain FORWARD of the table ip filter drops forwarded packets" in text for text in outcome.warnings
    ] == [True] * warned
    assert host.converge(WEB, POOL).warnings == ()


@pytest.mark.parametrize("target", ["REJECT", "DROP"])
def test_iptables_that_lets_no_packets_through(host: Host, target: str) -> None:
    host.does("iptables-nft", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
    host.does("iptables-nft", "-A", "FORWARD", "-j", target)
    (warning,) = host.converge(WEB, POOL).warnings
    assert "The chain FORWARD of the table ip filter" in warning
    host.does("iptables-nft", "-I", "FORWARD", "-o", "longshore0", "-j", "ACCEPT")
    assert host.converge(WEB, POOL, publish=("80:80",)).warnings == ()


def test_what_firewalld_has_to_be_told(host: Host) -> None:
    """With the end of the chain that firewalld 1.3.3 has."""
    chain = f"inet firewalld filter_FORWARD {{ {FORWARD} accept; }}"
    rules = ["ct status dnat accept", "ct state invalid drop", "reject with icmpx admin-prohibited"]
    adding = "; ".join(f"add rule inet firewalld filter_FORWARD {rule}" for rule in rules)
    host.does("sh", "-c", f"nft 'add table inet firewalld; add chain {chain}; {adding}'")
    (warning,) = host.converge(WEB, POOL, Interface("eth1", "lsu-br1")).warnings
    assert warning.endswith(
        " accept packets from and to longshore0 and lsu-br1. Permanently: firewall-cmd --permanent --zone trusted"
        " --add-interface longshore0 --add-interface lsu-br1; firewall-cmd --reload"
    )


def test_forwarding_is_left_on_for_others(host: Host) -> None:
    host.converge(WEB, POOL)
    host.does("sh", "-c", f"nft 'add table ip filter; add {OTHERS['policy'][0]}'")
    host.converge(OTHER, POOL)
    for name in (WEB, OTHER):
        host.converge(name, absent=True)
    assert host.sysctl(forwarding.IPV4) == "1"
    assert not (host.run_dir / "network.json").exists()
