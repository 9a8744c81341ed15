# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports as text: one table of cases, which every option that takes ports is tested with."""

from __future__ import annotations

import itertools
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import publishing
from ansible_collections.longshore.oci.plugins.module_utils._ports import address, host_ports, network_helper
from ansible_collections.longshore.oci.plugins.module_utils._ports.address import Ports, PublishedPort
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

PATHS = Paths("web", state_dir="/nowhere", run_dir="/nowhere")
# Ports of the host as text, the protocol apart, and what they are.
ACCEPTED: dict[tuple[str, str], Ports] = {
    ("8080", ""): Ports("tcp", None, 8080, 8080),
    ("8080", "/tcp"): Ports("tcp", None, 8080, 8080),
    ("8080", "/udp"): Ports("udp", None, 8080, 8080),
    ("8080", "/sctp"): Ports("sctp", None, 8080, 8080),
    ("8080", "/TCP"): Ports("tcp", None, 8080, 8080),  # docker and podman take any case
    ("127.0.0.1:53", "/Udp"): Ports("udp", "127.0.0.1", 53, 53),
    ("36412-36413", "/SCTP"): Ports("sctp", None, 36412, 36413),
    ("1-65535", ""): Ports("tcp", None, 1, 65535),
    ("8000-8000", ""): Ports("tcp", None, 8000, 8000),
    ("00080", ""): Ports("tcp", None, 80, 80),
    (5000 * "0" + "80-081", ""): Ports("tcp", None, 80, 81),
    ("127.0.0.1:80", ""): Ports("tcp", "127.0.0.1", 80, 80),
    ("0.0.0.0:80", ""): Ports("tcp", "0.0.0.0", 80, 80),
    ("[::]:80", ""): Ports("tcp", "::", 80, 80),
    ("[0:0:0:0:0:0:0:0]:80", ""): Ports("tcp", "::", 80, 80),
    ("[2001:DB8:0::1]:80-81", "/udp"): Ports("udp", "2001:db8::1", 80, 81),
    ("[::ffff:192.0.2.1]:80", ""): Ports("tcp", "192.0.2.1", 80, 80),
    ("[::ffff:c000:201]:80", ""): Ports("tcp", "192.0.2.1", 80, 80),
}
IT_IS, NUMBER, NO_ADDRESS = "it is ", "a port is a number from 1 to 65535", " is not an IP address"
REFUSED: dict[tuple[str, str], str] = {
    ("", ""): IT_IS,
    ("web", ""): IT_IS,
    (" 80", ""): IT_IS,
    ("80 ", ""): IT_IS,
    ("80", "/tcp\n"): IT_IS,
    ("80", "/"): IT_IS,
    ("+80", ""): IT_IS,
    ("-80", ""): IT_IS,
    ("8_0", ""): IT_IS,
    ("0x50", ""): IT_IS,
    ("80.0", ""): IT_IS,
    ("\u0668\u0660", ""): IT_IS,  # 80 in digits that are not of ASCII
    ("80-\u0668\u0661", ""): IT_IS,
    ("80,81", ""): IT_IS,
    ("::1:80", ""): IT_IS,
    ("[::1]80", ""): IT_IS,
    (":80", ""): IT_IS,
    ("0", ""): NUMBER,
    ("00", ""): NUMBER,
    ("65536", ""): NUMBER,
    ("1-65536", ""): NUMBER,
    ("9" * 5000, ""): NUMBER,
    ("81-80", ""): "a range of ports must go up",
    ("19010-19000", ""): "a range of ports must go up",
    ("80", "/icmp"): "the protocol icmp is none of tcp, udp, sctp",
    ("80", "/ICMP"): "the protocol icmp is none of tcp, udp, sctp",
    ("80", "/tcp,udp"): "the protocol tcp,udp is none of tcp, udp, sctp",
    ("80", "/\u017fctp"): "the protocol \u017fctp is none of tcp, udp, sctp",  # a letter that is an s in upper case
    ("localhost:80", ""): "localhost" + NO_ADDRESS,
    ("[127.0.0.1]:80", ""): "[127.0.0.1]" + NO_ADDRESS,
    ("300.0.0.1:80", ""): "300.0.0.1" + NO_ADDRESS,
    ("127.0.0.01:80", ""): "127.0.0.01" + NO_ADDRESS,
    ("127.1:80", ""): "127.1" + NO_ADDRESS,
    ("127.0.0.1 :80", ""): NO_ADDRESS,
    ("[]:80", ""): "[]" + NO_ADDRESS,
    ("[::g]:80", ""): "[::g]" + NO_ADDRESS,
    ("[::1/64]:80", ""): "[::1/64]" + NO_ADDRESS,
    ("127.0.0.\u0661:80", ""): NO_ADDRESS,
    ("127.0.0.1\0:80", ""): NO_ADDRESS,
    ("127.0.0.1%eth0:80", ""): "127.0.0.1%eth0" + NO_ADDRESS,
    ("[::ffff:127.0.0.1%eth0]:80", ""): NO_ADDRESS,
    ("[fe80::1%]:80", ""): NO_ADDRESS,
    ("[fe80::1%et h0]:80", ""): NO_ADDRESS,
}


def _reserve(text: str, protocol: str) -> Ports:
    found = host_ports.parse_reservation(text + protocol)
    assert [each.port for each in found] == list(range(found[0].port, found[-1].port + 1))
    return found[0].ports._replace(last=found[-1].port)


def _listen(text: str, protocol: str) -> Ports:
    return host_ports.parse_listen(text + protocol).ports


def _publish(text: str, protocol: str) -> Ports:
    first = text.rpartition(":")[2].partition("-")[0]
    target = first if first.isdecimal() and first.isascii() and len(first) < 6 else "1"
    ports = text.rpartition(":")[2]
    targets = f"{target}-{int(target) + _length(ports)}" if "-" in ports else target
    return publishing.publish(f"{text}:{targets}{protocol}").source


def _length(text: str) -> int:
    """How many further ports a range has, as far as it is one."""
    first, _dash, last = text.partition("-")
    numbers = [part.lstrip("0") for part in (first, last) if part.isascii() and part.isdecimal()]
    return max(0, int(numbers[1]) - int(numbers[0])) if len(numbers) == 2 else 0


def _forward(helper: str, text: str, protocol: str) -> Ports:
    """Read what the command line of pasta has, which says all: sctp is refused before."""
    definition = builders.definition(network_helper=helper, publish=(f"{text}:1{protocol}",))
    words = network_helper.argv(definition, PATHS, "1", ready="1", root=False)
    ((kind, spec),) = ((a[2:5], b) for a, b in zip(words, words[1:]) if a.endswith("-ports") and b != "none")
    host, slash, ports = spec.rpartition("/")
    first, _dash, last = ports.partition(":")[0].partition("-")
    return Ports(kind, host if slash else None, int(first), int(last or first))


USERS: dict[str, t.Callable[[str, str], Ports]] = {
    "reserve_ports": _reserve,
    "listen": _listen,
    "publish of oci_network": _publish,
    "publish of pasta": lambda text, protocol: _forward("pasta", text, protocol),
}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("case", ACCEPTED, ids=ascii)
def test_ports_are_read_alike(user: str, case: tuple[str, str]) -> None:
    expected = ACCEPTED[case]
    if user == "listen" and (expected.protocol == "sctp" or expected.first < expected.last):
        with pytest.raises(InvalidOption, match="it needs one port, of tcp or udp"):
            USERS[user](*case)
        return
    if user == "publish of pasta" and expected.protocol == "sctp":
        return  # test_network_helper.py
    assert USERS[user](*case) == expected


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("case", REFUSED, ids=ascii)
def test_ports_are_refused_alike(user: str, case: tuple[str, str]) -> None:
    with pytest.raises(InvalidOption) as caught:
        USERS[user](*case)
    assert caught.value.message.startswith(f"{user.partition(' ')[0]} cannot be ")
    assert REFUSED[case] in caught.value.message


def test_an_address_with_a_scope_is_for_sockets_of_this_host() -> None:
    expected = Ports("udp", "fe80::1%eth0", 53, 53)
    for user in ("reserve_ports", "listen"):
        assert USERS[user]("[FE80::1%eth0]:53", "/udp") == expected
    for user in ("publish of oci_network", "publish of pasta"):
        with pytest.raises(InvalidOption, match="with a scope, cannot be published"):
            USERS[user]("[FE80::1%eth0]:53", "/udp")


@pytest.mark.parametrize("host", ["224.0.0.1", "239.1.2.3", "255.255.255.255", "[ff02::1]", "[::ffff:224.0.0.1]"])
def test_an_address_of_many_hosts_is_not_published(host: str) -> None:
    with pytest.raises(InvalidOption, match="an address of many hosts"):
        address.parse_published(f"{host}:80:80")


@pytest.mark.parametrize("number", [484822, "484822", "1", 80])
def test_a_whole_number_was_meant_otherwise(number: str | int) -> None:
    """YAML 1.1 reads 8080:22 as a number of base 60."""
    with pytest.raises(InvalidOption, match="Quote it: YAML takes 8080:22 for a number"):
        address.parse_published(number)
    assert "Quote" not in str(address.invalid("publish", "web", "no"))
    assert address.parse_ports("reserve_ports", 8080) == Ports("tcp", None, 8080, 8080)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", PublishedPort(None, 8080, 8080, 80, "tcp")),
        ("0.0.0.0:80:80", PublishedPort("0.0.0.0", 80, 80, 80, "tcp")),
        ("[::1]:53:5353/udp", PublishedPort("::1", 53, 53, 5353, "udp")),
        ("8000-8000:80", PublishedPort(None, 8000, 8000, 80, "tcp")),
        ("8000:80-80/UDP", PublishedPort(None, 8000, 8000, 80, "udp")),
        ("8000-8009:080-00089/sctp", PublishedPort(None, 8000, 8009, 80, "sctp")),
        ("1:65535", PublishedPort(None, 1, 1, 65535, "tcp")),
    ],
)
def test_published_ports(text: str, expected: PublishedPort) -> None:
    assert address.parse_published(text) == expected
    assert address.parse_published(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("80:0", NUMBER), ("80:65536", NUMBER), ("8000-8001:65535", NUMBER), ("80:" + "9" * 5000, NUMBER),
        ("8000:80-65536", NUMBER), ("8000-8001:81-80", "a range of ports must go up"), ("8000:81-80", "a range of ports must go up"),
        ("127.0.0.1::80", IT_IS), ("80:\u0668\u0660", IT_IS), ("80:80:", IT_IS),
    ],
)  # fmt: skip
def test_targets_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        address.parse_published(text)
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("8000-8010:9000", "Write 8000:9000/tcp for one port, or 8000-8010:9000-9010/tcp for 11."),
        (
            "127.0.0.1:53-54:5353/UDP",
            "Write 127.0.0.1:53:5353/udp for one port, or 127.0.0.1:53-54:5353-5354/udp for 2.",
        ),
        ("[::1]:1-3:11", "Write [::1]:1:11/tcp for one port, or [::1]:1-3:11-13/tcp for 3."),
        ("1-65535:1", "Write 1:1/tcp for one port, or 1-65535:1-65535/tcp for 65535."),
        ("8000:80-81", "Write 8000:80/tcp for one port, or 8000-8001:80-81/tcp for 2."),
        ("8000-8001:80-82", "Write 8000:80/tcp for one port, or 8000-8002:80-82/tcp for 3."),
        ("8000-8002:80-81", "Write 8000:80/tcp for one port, or 8000-8002:80-82/tcp for 3."),
        ("65535:80-89", "Write 65535:80/tcp for one port."),
        ("8000-8001:80-80", "Write 8000:80/tcp for one port, or 8000-8001:80-81/tcp for 2."),
    ],
)
def test_a_range_of_one_side(text: str, hint: str) -> None:
    """podman refuses it. It opened ports of the container that nobody had named."""
    with pytest.raises(InvalidOption, match="the two ranges of ports must be of the same length") as caught:
        address.parse_published(text)
    assert caught.value.hint == hint


@pytest.mark.parametrize("text", ["8000-8010:9000", "[::1]:53-54:5353/udp", "127.0.0.1:1-65535:1"])
def test_a_range_of_one_side_in_a_record(text: str) -> None:
    """Earlier releases took it."""
    recorded = address.recorded_port(text)
    assert recorded.target_range != str(recorded.target)
    assert address.parse_published(text, [recorded]) == recorded
    for other in (recorded._replace(target=recorded.target + 1), recorded._replace(last=recorded.port)):
        with pytest.raises(InvalidOption, match="must be of the same length"):
            address.parse_published(text, [other])
    assert address.recorded_port("8080:80") == address.parse_published("8080:80")
    with pytest.raises(InvalidOption, match="must be of the same length"):
        address.parse_published("8000:80-81", [address.parse_published("8000:80")])


# Each as it is written, with those that it overlaps, in groups: nothing overlaps what is in another group of its list.
APART = (
    ("80", "80/udp", "80/sctp"),
    ("80-89", "90", "70-79"),
    ("127.0.0.1:80", "127.0.0.2:80", "[::1]:80", "[::2]:80"),
    ("0.0.0.0:80", "[::]:80"),
    ("0.0.0.0:80", "[::1]:80"),
    ("[::]:80", "127.0.0.1:80"),
    ("[fe80::1%eth0]:80", "[fe80::1%eth1]:80"),
)
TOGETHER = (
    ("80", "80/tcp"), ("80", "79-81"), ("80-89", "89-99"), ("80", "127.0.0.1:80"), ("80", "[::1]:80"), ("80", "0.0.0.0:80"),
    ("80", "[::]:80"), ("0.0.0.0:80", "127.0.0.1:79-80"), ("[::]:80", "[::1]:80"), ("[::1]:80", "[0::1]:80"),
    ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"), ("0.0.0.0:80", "[::ffff:127.0.0.1]:80"), ("[::]:80", "[fe80::1%eth0]:80"),
)  # fmt: skip


def test_overlaps() -> None:
    apart = [pair for group in APART for pair in itertools.combinations(group, 2)]
    for expected, pairs in ((False, apart), (True, TOGETHER)):
        for pair in pairs:
            one, other = (address.parse_ports("publish", text) for text in pair)
            assert one.overlaps(other) is other.overlaps(one) is expected, pair


@pytest.mark.parametrize(
    ("text", "covered", "not_covered"),
    [
        ("80-89", ("80", "127.0.0.1:89", "[::]:80", "85-89"), ("90", "80/udp", "79-80")),
        ("0.0.0.0:80", ("127.0.0.1:80", "0.0.0.0:80"), ("80", "[::1]:80")),
        ("[::]:80", ("[::1]:80",), ("80", "127.0.0.1:80")),
        ("127.0.0.1:80", ("127.0.0.1:80",), ("127.0.0.2:80", "0.0.0.0:80")),
    ],
)
def test_covers(text: str, covered: tuple[str, ...], not_covered: tuple[str, ...]) -> None:
    ports = address.parse_ports("publish", text)
    for expected, others in ((True, covered), (False, not_covered)):
        assert [ports.covers(address.parse_ports("publish", other)) for other in others] == [expected] * len(others)
