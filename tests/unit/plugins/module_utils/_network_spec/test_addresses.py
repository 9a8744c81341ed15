# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is an address, a subnet, a destination and a MAC address."""

from __future__ import annotations

import ipaddress
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import addresses
from ansible_collections.longshore.oci.tests.unit import yaml_text

pytestmark = pytest.mark.pure

SUBNETS = {4: ipaddress.ip_network("10.78.1.0/24")}


@pytest.mark.parametrize("text", ["", "10.78.1", "10.78.1.256", "fe80::1%eth0", "host", "10.78.1.1/24", "::1/0"])
def test_no_address(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"is not an IP address\.$"):
        addresses.address(text)


@pytest.mark.parametrize("text", ["10.78.1.0/30", "10.78.1.0/24", "fd00::/126", "0.0.0.0/0"])
def test_a_subnet(text: str) -> None:
    assert str(addresses.subnet(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.78.1.1/24", "is not a subnet: .* has host bits set"), ("10.78.1.0/33", "is not a subnet"),
        ("10.78.1.0/31", "is too small"), ("10.78.1.0", "is too small"), ("fd00::/127", "is too small"), ("x/24", "is not an IP address"),
    ],
)  # fmt: skip
def test_no_subnet(text: str, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        addresses.subnet(text)


@pytest.mark.parametrize(
    ("text", "found"), [("10.78.1.7", "10.78.1.7/24"), ("10.78.1.7/24", "10.78.1.7/24"), ("fd00::7/64", "fd00::7/64")]
)
def test_a_static_address(text: str, found: str) -> None:
    assert str(addresses.static(text, SUBNETS)) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fd00::7", "has no prefix length"), ("10.78.2.7", "is not in the subnet"), ("10.78.1.7/25", "is not in the subnet"),
        ("10.78.1.7/x", "is not an address"), ("x", "is not an IP address"),
    ],
)  # fmt: skip
def test_no_static_address(text: str, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        addresses.static(text, SUBNETS)


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("10.78.1.1/24", True), ("10.78.1.0/24", False), ("10.78.1.255/24", False), ("10.78.1.0/31", True), ("127.0.0.1/8", False),
        ("224.0.0.1/24", False), ("0.0.0.1/8", False), ("255.255.255.255/24", False), ("10.0.0.1/0", False), ("fd00::1/64", True),
        ("fd00::/64", False), ("fd00::ffff:ffff:ffff:ffff/64", True), ("fe80::1/64", False), ("::ffff:10.0.0.1/96", False), ("::2/96", False),
    ],
)  # fmt: skip
def test_an_address_for_a_host(host: str, good: bool) -> None:
    found: t.Any = ipaddress.ip_interface(host)
    if good:
        addresses.check_host(found.ip, found.network)
    else:
        with pytest.raises(InvalidOption, match="is not an address for a host in"):
            addresses.check_host(found.ip, found.network)


@pytest.mark.parametrize(
    ("to", "via", "found"),
    [
        ("default", "10.78.1.1", "0.0.0.0/0"), ("default", "fd00::1", "::/0"), ("10.1.0.0/16", "10.78.1.1", "10.1.0.0/16"),
        ("10.1.2.3", "10.78.1.1", "10.1.2.3/32"),
    ],
)  # fmt: skip
def test_a_destination(to: str, via: str, found: str) -> None:
    assert str(addresses.destination(to, via)) == found


@pytest.mark.parametrize(
    ("to", "via", "said"),
    [
        ("10.1.2.3/16", "10.78.1.1", "A route cannot lead to"), ("fd01::/64", "10.78.1.1", "one is IPv4, the other is IPv6"),
        ("127.0.0.0/8", "10.78.1.1", "special meaning"), ("224.0.0.0/4", "10.78.1.1", "special meaning"),
        ("fe80::/64", "fd00::1", "special meaning"), ("default", "x", "is not an IP address"),
    ],
)  # fmt: skip
def test_no_destination(to: str, via: str, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        addresses.destination(to, via)


def test_hardware() -> None:
    assert addresses.hardware("02:00:00:00:00:AB") == "02:00:00:00:00:ab"


@pytest.mark.parametrize(
    "text", ["", "02-00-00-00-00-01", "02:00:00:00:00", "01:00:00:00:00:01", "00:00:00:00:00:00", "0g:00:00:00:00:01"]
)
def test_no_hardware(text: str) -> None:
    with pytest.raises(InvalidOption, match="is not the MAC address of an interface"):
        addresses.hardware(text)


@pytest.mark.parametrize("text", ["52:54:00:12:34:56", "10:00:00:00:00:01", "98:01:02:03:04:05", "58:59:59:59:59:59"])
def test_a_mac_that_yaml_takes_for_a_number(text: str) -> None:
    number = yaml_text.load(text)
    assert isinstance(number, int)
    with pytest.raises(InvalidOption, match="is not the MAC address of an interface") as caught:
        addresses.hardware(str(number))
    assert caught.value.hint == "Put it in quotes: YAML has taken it for a number."
    assert addresses.hardware(yaml_text.load(f"'{text}'")) == text


@pytest.mark.parametrize(
    "text", ["525400123456", "0", "41135085296x", "999999999", "100000000000", "9" * 5000, "\u0661" * 11]
)
def test_a_number_that_is_no_mac(text: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        addresses.hardware(text)
    assert caught.value.hint == "Write it as 02:00:00:00:00:01."


def test_an_address_that_yaml_takes_for_a_number() -> None:
    number = yaml_text.load("2001:10:0:1:2:3:4:5")
    assert isinstance(number, int)
    for text, quoted in ((str(number), True), ("10", False), ("9" * 5000, True)):
        with pytest.raises(InvalidOption, match="is not an IP address") as caught:
            addresses.address(text)
        assert ("Put it in quotes" in caught.value.hint) is quoted
