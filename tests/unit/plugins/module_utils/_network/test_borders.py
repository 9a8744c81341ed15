# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches whom, with real packets: the host, another host with routes, neighbours on the bridge, containers on other bridges."""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import select
import subprocess
import sys
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._network import forwarding
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import sysctls
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import Interface
from ansible_collections.longshore.oci.tests.unit.network_host import (
    OTHER,
    POOL,
    WEB,
    Host,
    asked,
    host,
    neighbour,
    serving,
)

__all__ = ["host"]  # the fixture

ELSEWHERE = Interface(bridge="lsu-br1", subnet=("10.79.1.0/24", "fd00:79:1::/64"))
Question = tuple[str, str, str, int]  # who asks, how, which address and port


def _ask_all(questions: t.Iterable[Question]) -> dict[Question, str]:
    """``got``, or why not: side by side, because a packet that is dropped takes its time."""
    questions = list(questions)
    with concurrent.futures.ThreadPoolExecutor(len(questions)) as side_by_side:
        answers = side_by_side.map(lambda each: asked(*each), questions)
        return {question: answer.rpartition(": ")[2] for question, answer in zip(questions, answers)}


def _routed_away(host: Host) -> str:
    """Another host that has routes to the networks, and to loopback, by this one."""
    away = neighbour(host)
    for to in ("10.78.1.0/24", "10.79.1.0/24", "127.0.0.2/32"):
        subprocess.run(["ip", "-n", away, "route", "add", to, "via", "198.51.100.1"], check=True)
    for to in ("fd00:78:1::/64", "fd00:79:1::/64"):
        subprocess.run(["ip", "-n", away, "route", "add", to, "via", "fd00:99::1"], check=True)
    return away


def test_only_what_is_published_for_all_is_reached_from_elsewhere(host: Host) -> None:
    """Neither what is not published nor what is published at an address is reached by a route to the container."""
    host.converge(WEB, POOL, publish=("8080:80", "127.0.0.1:8081:80", "192.0.2.7:8082:80", "1053:53/udp"))
    host.converge(OTHER, ELSEWHERE)
    away = _routed_away(host)
    with serving(WEB):
        told: dict[Question, str] = {
            (away, "tcp", "198.51.100.1", 8080): "198.51.100.2",
            (away, "tcp", "fd00:99::1", 8080): "fd00:99::2",
            (away, "udp", "198.51.100.1", 1053): "198.51.100.2",
            (away, "udp", "fd00:99::1", 1053): "fd00:99::2",
            (away, "tcp", "10.78.1.2", 80): "timed out",
            (away, "udp", "10.78.1.2", 53): "timed out",
            (away, "tcp", "fd00:78:1::2", 80): "timed out",
            (away, "udp", "fd00:78:1::2", 53): "timed out",
            # The published number at the container's own address leads nowhere either.
            (away, "tcp", "10.78.1.2", 8080): "timed out",
            # Masqueraded, as all that leaves its bridge.
            (OTHER, "tcp", "198.51.100.1", 8080): "10.78.1.1",
            (OTHER, "tcp", "fd00:99::1", 8080): "fd00:78:1::1",
            (OTHER, "tcp", "10.78.1.2", 80): "timed out",
            (OTHER, "udp", "10.78.1.2", 53): "timed out",
            (OTHER, "tcp", "fd00:78:1::2", 80): "timed out",
            (host.name, "tcp", "10.78.1.2", 80): "10.78.1.1",
            (host.name, "tcp", "fd00:78:1::2", 80): "fd00:78:1::1",
            (host.name, "tcp", "127.0.0.1", 8081): "10.78.1.1",
            (WEB, "tcp", "10.78.1.1", 8080): "10.78.1.1",
        }
        found = _ask_all(told)
        assert found == told
    with serving(away):
        assert asked(WEB, "tcp", "198.51.100.2", 80) == "198.51.100.1"
        assert asked(WEB, "udp", "fd00:99::2", 53) == "fd00:99::1"


@pytest.mark.parametrize(
    ("isolate", "routed", "outside", "beside"),
    [(True, False, False, False), (False, False, False, True), (True, True, True, False), (False, True, True, True)],
)
def test_a_network_is_opened(host: Host, isolate: bool, routed: bool, outside: bool, beside: bool) -> None:
    """For other hosts by routed, for containers on other bridges by isolate: each of the four."""
    host.converge(WEB, POOL, masquerade=False, isolate=isolate, routed=routed)
    host.converge(OTHER, ELSEWHERE, masquerade=False)
    away = _routed_away(host)
    with serving(WEB), serving(OTHER):
        told: dict[Question, str] = {
            (away, "tcp", "10.78.1.2", 80): "198.51.100.2" if outside else "timed out",
            (away, "udp", "fd00:78:1::2", 53): "fd00:99::2" if outside else "timed out",
            (OTHER, "tcp", "10.78.1.2", 80): "10.79.1.2" if beside else "timed out",
            (OTHER, "tcp", "fd00:78:1::2", 80): "fd00:79:1::2" if beside else "timed out",
            # The other network has not asked for it.
            (WEB, "tcp", "10.79.1.2", 80): "timed out",
            (away, "tcp", "10.79.1.2", 80): "timed out",
        }
        assert _ask_all(told) == told
    assert host.converge(WEB, POOL, masquerade=False, isolate=isolate, routed=routed).plan.actions == ()


def test_a_container_on_somebody_elses_bridge_is_closed_too(host: Host) -> None:
    """Where this host is its gateway. Who is on that bridge reaches it anyway."""
    host.does("ip", "link", "add", "br0", "type", "bridge")
    for words in ("address add 10.78.1.1/24 dev br0", "address add fd00:78:1::1/64 dev br0 nodad", "link set br0 up"):
        host.does("ip", *words.split())
    theirs = POOL._replace(bridge="br0")
    host.converge(WEB, theirs, publish=("8080:80",))
    away = _routed_away(host)
    with serving(WEB):
        told: dict[Question, str] = {
            (away, "tcp", "198.51.100.1", 8080): "198.51.100.2",
            (away, "tcp", "10.78.1.2", 80): "timed out",
            (away, "tcp", "fd00:78:1::2", 80): "timed out",
            (host.name, "tcp", "10.78.1.2", 80): "10.78.1.1",
        }
        assert _ask_all(told) == told
        host.converge(WEB, theirs, publish=("8080:80",), routed=True)
        assert asked(away, "tcp", "10.78.1.2", 80) == "198.51.100.2"


# Sends one UDP packet with a source of one's choice: as root of a container with NET_RAW does.
FORGE = """
import socket, struct, sys
source, target, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
data = b"forged"
udp = struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data
if ":" in source:
    six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    ends = socket.inet_pton(socket.AF_INET6, source), socket.inet_pton(socket.AF_INET6, target)
    total = sum(struct.unpack("!%dH" % ((len(ends[0] + ends[1] + udp)) // 2), ends[0] + ends[1] + udp)) + 17 + len(udp)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    udp = udp[:6] + struct.pack("!H", (~total & 0xFFFF) or 0xFFFF) + udp[8:]
    six.sendto(struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + ends[0] + ends[1] + udp, (target, 0))
else:
    four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    four.sendto(struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(data), 1, 0, 64, 17, 0) + ends + udp, (target, 0))
"""
# Says from where each packet came.
HEAR = """
import socket, sys
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", int(sys.argv[1])))
print("ready", flush=True)
while True:
    print(server.recvfrom(100)[1][0].replace("::ffff:", ""), flush=True)
"""


def _heard(where: str, who: str, forged: t.Sequence[tuple[str, str]], honest: tuple[str, str]) -> list[str]:
    """The sources that a server sees. The last packet is one that it gets."""
    with subprocess.Popen(
        ["ip", "netns", "exec", where, sys.executable, "-c", HEAR, "5000"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == "ready\n"
            for source, target in [*forged, honest]:
                argv = ["ip", "netns", "exec", who, sys.executable, "-c", FORGE, source, target, "5000"]
                subprocess.run(argv, check=True)
            heard: list[str] = []
            while not heard or heard[-1] != honest[0]:
                assert select.select([server.stdout], [], [], 10)[0], heard
                heard.append(server.stdout.readline().strip())
            return heard
        finally:
            server.kill()


@pytest.mark.parametrize("publish", [("8080:80",), ("127.0.0.1:8080:80",), ()])
def test_a_container_forges_no_source(host: Host, publish: tuple[str, ...]) -> None:
    """To the host: not loopback, which route_localnet would let in, nor any address that is not on its own bridge."""
    host.converge(WEB, POOL, publish=publish)
    host.converge(OTHER, ELSEWHERE)
    host.does("ip", "address", "add", "10.78.9.9/32", "dev", "lo")
    neighbour(host)
    forged = [
        ("127.0.0.2", "10.78.1.1"), ("127.0.0.2", "192.0.2.7"), ("10.78.1.1", "192.0.2.7"), ("192.0.2.7", "10.78.1.1"),
        ("198.51.100.2", "10.78.1.1"), ("10.79.1.2", "10.78.1.1"), ("10.78.9.9", "10.78.1.1"),
        ("203.0.113.9", "10.78.1.1"), ("::1", "fd00:78:1::1"), ("fd00:79:1::2", "fd00:78:1::1"),
        ("fd00:99::2", "fd00:78:1::1"), ("2001:db8::1", "fd00:78:1::1"), ("::ffff:127.0.0.1", "fd00:78:1::1"),
    ]  # fmt: skip
    assert _heard(host.name, WEB, forged, ("10.78.1.2", "10.78.1.1")) == ["10.78.1.2"]
    assert _heard(host.name, WEB, [], ("fd00:78:1::2", "fd00:78:1::1")) == ["fd00:78:1::2"]
    # Nor to containers on other bridges, or to other hosts.
    host.converge(WEB, POOL, publish=publish, masquerade=False)
    host.converge(OTHER, ELSEWHERE, isolate=False)
    more = [("198.51.100.2", "10.79.1.2"), ("10.79.1.1", "10.79.1.2"), ("127.0.0.2", "10.79.1.2")]
    assert _heard(OTHER, WEB, more, ("10.78.1.2", "10.79.1.2")) == ["10.78.1.2"]


# A router advertisement: a default route, and a prefix to make addresses of.
ADVERTISE = """
import socket, struct
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 1800, 1800, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
raw.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix, ("ff02::1", 0))
"""


def _advertised(host: Host, *names: str) -> list[str]:
    """What came of it, on the host and in networks."""
    found = []
    for name in (host.name, *names):
        for words in (["route"], ["address"]):
            told = subprocess.check_output(["ip", "-n", name, "-6", *words], text=True)
            found += [line.strip() for line in told.splitlines() if "bad" in line or "proto ra" in line]
    return found


def _advertise(name: str) -> None:
    """From a network whose container has the right to it, as soon as it has a link-local address to send from."""
    deadline = time.monotonic() + 10
    while "fe80" not in (told := subprocess.check_output(["ip", "-n", name, "-6", "address"], text=True)) or (
        "tentative" in told
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    subprocess.run(["ip", "netns", "exec", name, sys.executable, "-c", ADVERTISE], check=True)
    time.sleep(0.5)


IPV4_ONLY = Interface(subnet=("10.78.1.0/24",))


@pytest.mark.parametrize("interface", [IPV4_ONLY, POOL])
def test_nobody_takes_a_route_from_a_container(host: Host, interface: Interface) -> None:
    """Neither the host nor a neighbour, whether the network has IPv6 or not (CVE-2020-10749, CVE-2020-13401)."""
    host.converge(WEB, interface)
    host.converge(OTHER, interface)
    _advertise(WEB)
    assert _advertised(host, WEB, OTHER) == []


@pytest.mark.parametrize(
    ("interface", "publish"),
    [(IPV4_ONLY, ("8080:80",)), (Interface(address=("10.78.1.9/24",), gateway=("10.78.1.254",)), ())],
    ids=["by-this-host", "by-another-router"],
)
def test_nobody_takes_a_route_from_a_container_on_somebody_elses_bridge(
    host: Host, interface: Interface, publish: tuple[str, ...]
) -> None:  # fmt: skip
    """Where the host listens to a router: it goes on to hear that one."""
    for words in (
        "link add br0 type bridge", "address add 10.78.1.1/24 dev br0", "link set br0 up",
        "link add port master br0 type veth peer name eth0",
    ):  # fmt: skip
        host.does("ip", *words.split())
    host.sysctl("net/ipv6/conf/br0/accept_ra", "2")
    before = host.is_like()
    wanted = interface._replace(bridge="br0")
    host.converge(WEB, wanted, publish=publish)
    assert host.converge(WEB, wanted, publish=publish).plan.actions == ()
    _advertise(WEB)
    assert _advertised(host, WEB) == []
    host.does("sh", "-c", "nft delete table bridge $(nft list tables | sed -n 's/table bridge //p')")
    assert host.converge(WEB, wanted, publish=publish).plan.actions == ("rules",)
    _advertise(WEB)
    assert _advertised(host, WEB) == []
    host.converge(WEB, absent=True)
    assert host.is_like() == before
    # A router that is not a container.
    netns.create(OTHER)
    host.does("ip", "link", "set", "eth0", "netns", OTHER)
    host.does("ip", "link", "set", "port", "up")
    host.does("ip", "-n", OTHER, "link", "set", "eth0", "up")
    host.converge(WEB, wanted, publish=publish)
    _advertise(OTHER)
    assert len(_advertised(host, WEB)) >= 2


def _sysctls(host: Host, name: str) -> dict[str, str]:
    """Of all links that are ours, by host and path."""
    links = [each["ifname"] for each in json.loads(host.does("ip", "-j", "link"))]
    ours = [link for link in links if link == "longshore0" or link.startswith("ls-")]
    found = {f"host {path}": host.sysctl(path) for link in ours for path in sysctls.closed(link, True)}
    for link in ("lo", "eth0"):
        for path in sysctls.closed(link):
            found[f"inside {path}"] = _inside(name, path)
    return found


def _inside(name: str, path: str, value: str | None = None) -> str:
    """A sysctl of a network, which may be set first."""

    def work() -> str:
        if value is not None:
            forwarding.write(path, value)
        return pathlib.Path(forwarding.TOP, path).read_text(encoding="ascii").strip()

    return netns.inside(name, work)


@pytest.mark.parametrize("interface", [IPV4_ONLY, POOL])
def test_links_are_closed(host: Host, interface: Interface) -> None:
    """Also where the defaults of the host are open, and those that an older release has left so."""
    for path in (
        "net/ipv6/conf/default/accept_ra",
        "net/ipv4/conf/default/accept_redirects",
        "net/ipv4/conf/all/proxy_arp",
    ):
        host.sysctl(path, "1")
    host.converge(WEB, interface)
    made = _sysctls(host, WEB)
    ports = {path for path in made if "/ls-" in path}
    on = {path for path, value in made.items() if value == "1"}
    assert on == {path for path in made if path.endswith("disable_ipv6") and (path in ports or interface == IPV4_ONLY)}
    assert host.converge(WEB, interface).plan.actions == ()
    for path, value in made.items():
        where, _space, path = path.partition(" ")
        other = str(1 - int(value))
        if where == "host":
            host.sysctl(path, other)
        else:
            _inside(WEB, path, other)
    predicted = host.converge(WEB, interface, check=True).plan
    assert {action.value for action in predicted.actions} >= {"bridge", "interface"}
    assert host.converge(WEB, interface).plan == predicted
    assert _sysctls(host, WEB) == made
    assert host.converge(WEB, interface).plan.actions == ()


def test_a_network_of_an_older_release_is_closed_by_its_next_task(host: Host) -> None:
    """Its record says nothing of borders, its links took what a router announced, and the table has other rules."""
    host.converge(WEB, IPV4_ONLY, publish=("8080:80",))
    host.converge(OTHER, IPV4_ONLY)
    (path,) = (host.run_dir.parent / "state" / "networks").glob(f"{WEB}.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    del record["isolate"], record["routed"]
    path.write_text(json.dumps(record), encoding="utf-8")
    table = host.does("nft", "list", "tables").split()[2]
    host.does("nft", "delete", "chain", "inet", table, "forward")
    host.does("nft", "flush", "chain", "inet", table, "guard")
    for name, value in (("disable_ipv6", "0"), ("accept_ra", "2"), ("autoconf", "1")):
        host.sysctl(f"net/ipv6/conf/longshore0/{name}", value)
        _inside(OTHER, f"net/ipv6/conf/eth0/{name}", value)
    _advertise(WEB)
    assert len(_advertised(host, OTHER)) >= 4
    for name, publish, actions in ((WEB, ("8080:80",), ("record", "bridge", "rules")), (OTHER, (), ("interface",))):
        assert host.converge(name, IPV4_ONLY, publish=publish).plan.actions == actions
        assert host.converge(name, IPV4_ONLY, publish=publish).plan.actions == ()
    assert _advertised(host, WEB, OTHER) == []
