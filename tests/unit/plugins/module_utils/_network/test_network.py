# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks are made of: addresses from pools, published ports, and the table of nftables that nft itself reads."""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._engine.errors import EngineError, InvalidInput
from ansible_collections.longshore.oci.plugins.module_utils._network import netns, parse
from ansible_collections.longshore.oci.plugins.module_utils._network.parse import Interface, Record, Request, resolve
from ansible_collections.longshore.oci.plugins.module_utils._network.ruleset import ruleset

POOL = Interface(subnet=("10.78.1.0/29", "fd00:78::/64"))


def _made(name: str, *interfaces: Interface, others: t.Mapping[str, Record] | None = None, **more: t.Any) -> Record:
    return resolve(Request(name, interfaces=interfaces, **more), others or {}, None, "machine")


def test_a_pool_gives_out_the_next_and_keeps_it() -> None:
    records: dict[str, Record] = {}
    for name in ("a", "b", "c"):
        records[name] = _made(name, POOL, others=records)
    given = [record["interfaces"][0]["addresses"] for record in records.values()]
    assert given == [[f"10.78.1.{number}/29", f"fd00:78::{number}/64"] for number in (2, 3, 4)]
    assert records["a"]["interfaces"][0]["gateways"] == ["10.78.1.1", "fd00:78::1"]
    without = {"c": records["c"]}
    kept = resolve(Request("b", interfaces=(POOL,)), without, records["b"], "machine")
    assert kept == records["b"]
    assert _made("d", POOL, others=without)["interfaces"][0]["addresses"][0] == "10.78.1.2/29"


def test_a_pool_can_be_full() -> None:
    records: dict[str, Record] = {}
    for name in "abcde":
        records[name] = _made(name, POOL, others=records)
    with pytest.raises(EngineError, match=r"No address of the subnet 10\.78\.1\.0/29 is free"):
        _made("f", POOL, others=records)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("8080:80", "8080:80/tcp"), ("53:53/udp", "53:53/udp"), ("192.0.2.1:1-3:11-13", "192.0.2.1:1-3:11-13/tcp"),
        ("1-3:11", "1-3:11-13/tcp"), ("[fd00::1]:8080:80/sctp", "[fd00::1]:8080:80/sctp"),
    ],
)  # fmt: skip
def test_what_is_published_is_read(text: str, canonical: str) -> None:
    assert parse.published(parse.publish(text)) == canonical
    assert parse.publish(canonical) == parse.publish(text)


@pytest.mark.parametrize(
    "text",
    [
        "80",
        "a:80",
        "0:80",
        "8080:65536",
        "3-1:3",
        "1-3:1-4",
        "80:80/icmp",
        "300.0.0.1:80:80",
        "1-2000:2-2001",
        "0.0.0.0:1:1",
    ],
)
def test_what_cannot_be_published_is_refused(text: str) -> None:
    with pytest.raises(EngineError):
        parse.publish(text)


@pytest.mark.parametrize(
    ("interface", "says"),
    [
        (Interface(address=("10.78.1.2",)), "no length of its network"),
        (Interface(address=("10.78.9.2/24",), subnet=("10.78.1.0/24",)), "not in the subnet"),
        (Interface(address=("10.78.1.2/24",), gateway=("10.78.2.1",)), "in the network of none"),
        (Interface(subnet=("10.78.1.1/24",)), "is none"),
        (Interface(subnet=("10.78.1.0/31",)), "too small"),
        (Interface(subnet=("10.78.1.0/24", "10.78.2.0/24")), "one subnet of IPv4"),
        (Interface(name="../x"), "cannot be the name"),
        (Interface(mac="01:00:00:00:00:01"), "hardware address"),
        (Interface(mtu=1), "mtu"),
    ],
)
def test_what_cannot_be_an_interface_is_refused(interface: Interface, says: str) -> None:
    with pytest.raises(EngineError, match=says):
        _made("a", interface)


def test_what_another_network_has_is_refused() -> None:
    first = {"a": _made("a", POOL, publish=("8000-8010:80-90",))}
    with pytest.raises(EngineError, match="published by the network a"):
        _made("b", POOL, others=first, publish=("8005:80",))
    with pytest.raises(EngineError, match="is that of the network a"):
        _made("b", Interface(address=("10.78.1.2/29",)), others=first)
    _made("b", POOL, others=first, publish=("8005:80/udp",))
    with pytest.raises(EngineError, match="without an address and a gateway"):
        _made("b", Interface(address=("10.78.1.3/29",)), others=first, publish=("9000:80",))


def test_nft_takes_the_table() -> None:
    """In a namespace that is made for it: nothing of the machine's own rules is touched."""
    record = _made(
        "web", POOL, publish=("8080:80", "[fd00::1]:53:53/udp", "1000-1010:1000-1010", "1-2:11-12"), masquerade=True
    )
    text = ruleset("longshore", [record])
    assert 'ip saddr 10.78.1.2 oifname != "longshore0" masquerade comment "web"' in text
    assert ruleset("longshore", [_made("plain", POOL)]) == ""
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


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "-x", "a" * 101])
def test_a_name_leads_nowhere(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the name of a network"):
        resolve(Request(name, interfaces=()), {}, None, "machine")
