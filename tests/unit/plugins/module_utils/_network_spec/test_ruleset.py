# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports as text, and the table of nftables that nft itself reads. What it does to packets: test_packets.py."""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._network import forwarding, forwarding_changes
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import publishing
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import (
    Interface,
    Request,
    Surroundings,
    resolve,
)
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.record import NetworkRecord
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.ruleset import ruleset

pytestmark = pytest.mark.pure

POOL = Interface(subnet=("10.78.1.0/29", "fd00:78::/64"))
ROUTER = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]


def _made(*publish: str, masquerade: bool = True) -> NetworkRecord:
    request = Request("web", interfaces=(POOL,), publish=publish, masquerade=masquerade)
    return resolve(request, Surroundings(machine="machine"), None)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("8080:80", "8080:80/tcp"), ("53:53/udp", "53:53/udp"), ("192.0.2.1:1-3:11-13", "192.0.2.1:1-3:11-13/tcp"),
        ("1-3:11-13/TCP", "1-3:11-13/tcp"), ("0.0.0.0:80:80", "0.0.0.0:80:80/tcp"), ("[0::0]:80:80", "[::]:80:80/tcp"),
        ("[fd00::1]:8080:80/sctp", "[fd00::1]:8080:80/sctp"),
    ],
)  # fmt: skip
def test_what_is_published_is_read(text: str, canonical: str) -> None:
    assert str(publishing.publish(text)) == canonical
    assert publishing.publish(canonical) == publishing.publish(text)


@pytest.mark.parametrize(
    "text",
    [
        "80", "a:80", "0:80", "8080:65536", "3-1:3", "1-3:1-4", "80:80/icmp", "300.0.0.1:80:80", "1-2000:2-2001", "[::1]:80:80",
        "224.0.0.1:80:80",
    ],
)  # fmt: skip
def test_what_cannot_be_published_is_refused(text: str) -> None:
    with pytest.raises(LongshoreError, match="publish cannot be"):
        publishing.publish(text)


@pytest.mark.impure
def test_nft_takes_the_table() -> None:
    """In a namespace that is made for it: nothing of the machine's own rules is touched."""
    text = ruleset("longshore", [_made("8080:80", "[fd00::1]:53:53/udp", "1000-1010:1000-1010", "1-2:11-12")])
    assert 'ip saddr 10.78.1.2 oifname != "longshore0" masquerade comment "web"' in text
    name = f"longshore-unit-nft-{os.getpid()}"
    netns.create(name)
    try:
        nft = ["ip", "netns", "exec", name, "nft"]
        subprocess.run([*nft, "-f", "-"], input=text, text=True, check=True)
        listed = subprocess.run([*nft, "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    finally:
        netns.remove(name)
    assert listed.count("dnat ip to 10.78.1.2:80") == 2  # for others, and for the host itself
    assert listed.count("dnat ip6 to fd00:78::2") >= 2


def test_all_addresses_of_one_family() -> None:
    """As docker and podman have it."""
    table = ruleset("longshore", [_made("0.0.0.0:82:82", "[::]:81:80")])
    for part in table.split("chain prerouting")[1].split("chain output"):
        rules = [line.partition(" comment")[0].strip() for line in part.splitlines() if " dnat ip" in line]
        assert rules == [
            "meta nfproto ipv4 fib daddr type local tcp dport 82 dnat ip to 10.78.1.2",
            "meta nfproto ipv6 ip6 daddr != ::1 fib daddr type local tcp dport 81 dnat ip6 to [fd00:78::2]:80",
        ]


def test_what_is_published_on_loopback_is_for_who_is_on_this_host() -> None:
    incoming, outgoing = ruleset("longshore", [_made("127.0.0.1:80:80")]).split("chain output")
    assert " dnat ip" not in incoming
    assert "ip daddr 127.0.0.1 tcp dport 80 dnat ip to 10.78.1.2" in outgoing
    assert 'iifname != "lo" ip daddr 127.0.0.0/8 drop' in incoming


def test_only_what_is_needed() -> None:
    """Without ports and masquerading the host forwards nothing; a network always has its borders, without an interface none."""
    alone = resolve(Request("alone"), Surroundings(machine="machine"), None)
    assert ruleset("longshore", []) == ruleset("longshore", [alone]) == ""
    closed = ruleset("longshore", [_made(masquerade=False)])
    assert 'oifname "longshore0" drop' in closed
    assert "dnat ip" not in closed
    assert "masquerade" not in closed
    assert forwarding.needed([_made(masquerade=False)], {"longshore0"}) == {}
    names = [path.replace("/", ".") for path in forwarding.needed([_made()], {"longshore0"})]
    assert names == ROUTER
    names = [
        path.replace("/", ".")
        for path in forwarding.needed([_made("127.0.0.1:80:80", masquerade=False)], {"longshore0"})
    ]
    assert names == [ROUTER[0], "net.ipv4.conf.longshore0.route_localnet", ROUTER[1]]


def test_what_was_changed_goes_back() -> None:
    """Unless somebody else has rules for what is forwarded, or changed it since."""
    changed = {forwarding.IPV4: ("0", "1"), "net/ipv4/no/such": ("0", "1")}
    now = forwarding.differing({forwarding.IPV4: "?"})[forwarding.IPV4][0]
    changed[forwarding.IPV4] = ("other", now or "")
    assert forwarding_changes.to_restore(changed, {}, others_forward=False) == {forwarding.IPV4: "other"}
    assert forwarding_changes.to_restore(changed, {}, others_forward=True) == {}
    assert forwarding_changes.to_restore(changed, {forwarding.IPV4: "1"}, others_forward=False) == {}
    assert forwarding_changes.to_restore({forwarding.IPV4: ("3", "2")}, {}, others_forward=False) == {}
