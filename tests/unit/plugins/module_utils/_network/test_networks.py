# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks with the real kernel, on a host of their own: a network namespace in which all is done, with its own sysctls and tables."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict, EngineError
from ansible_collections.longshore.oci.plugins.module_utils._netlink import links, netlink, netns
from ansible_collections.longshore.oci.plugins.module_utils._network import firewall, forwarding, in_use, observe
from ansible_collections.longshore.oci.plugins.module_utils._network.networks import Networks, Outcome
from ansible_collections.longshore.oci.plugins.module_utils._network.records import Records
from ansible_collections.longshore.oci.plugins.module_utils._network.survey import Known, Survey
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import Interface, Request
from ansible_collections.longshore.oci.tests.unit import killing, programs

POOL = Interface(subnet=("10.78.1.0/24", "fd00:78:1::/64"))
PREFIX = f"lsu{os.getpid()}"
WEB, OTHER = f"{PREFIX}-web", f"{PREFIX}-other"


class Host:
    """What is done in it, and what it is like."""

    name = f"{PREFIX}-host"

    def __init__(self, directory: pathlib.Path) -> None:
        self.networks = Survey(state_dir=str(directory / "state"), run_dir=str(directory / "run"))
        self.run_dir = directory / "run"

    def converge(self, name: str, *interfaces: Interface, check: bool = False, **more: t.Any) -> Outcome:
        request = Request(name, interfaces=interfaces, **more)
        return netns.inside(self.name, lambda: self.networks.converge(request, check=check))

    def describe(self, name: str) -> Known:
        return netns.inside(self.name, lambda: self.networks.describe(name))

    def does(self, *argv: str) -> str:
        return netns.inside(self.name, lambda: subprocess.check_output(argv, text=True))

    def sysctl(self, path: str, value: str | None = None) -> str:
        if value is not None:
            netns.inside(self.name, lambda: forwarding.write(path, value))
        return netns.inside(self.name, lambda: pathlib.Path(forwarding.TOP, path).read_text(encoding="ascii")).strip()

    def is_like(self) -> dict[str, t.Any]:
        """Everything that a network could leave, without what is another each time: link-local addresses come a little later."""
        return {
            "links": sorted(each["ifname"] for each in json.loads(self.does("ip", "-j", "link"))),
            "addresses": sorted(f"{each['ifname']} {info['local']}/{info['prefixlen']}"
                                for each in json.loads(self.does("ip", "-j", "address"))
                                for info in each["addr_info"] if info["scope"] != "link"),
            "rules": self.does("nft", "list", "ruleset"),
            "sysctls": [self.sysctl(path) for path in (forwarding.IPV4, forwarding.IPV6)],
            "namespaces": sorted(name for name in os.listdir(netns.DIRECTORY) if name.startswith(PREFIX)),
            "files": sorted(str(path) for top in (self.run_dir, self.run_dir.parent / "state") for path in top.glob("**/*")
                            if path.is_file()),
        }  # fmt: skip

    def of(self, name: str) -> dict[str, t.Any]:
        """A network as its containers have it, and the host."""
        told = [
            ["ip", "-n", name, "-j", "address"], ["ip", "-n", name, "-j", "route"], ["ip", "-n", name, "-6", "-j", "route"],
        ]  # fmt: skip
        addresses, *routes = (json.loads(subprocess.check_output(argv)) for argv in told)
        return {
            "addresses": {
                each["ifname"]: sorted(f"{info['local']}/{info['prefixlen']}" for info in each["addr_info"] if info["scope"] != "link")
                for each in addresses
            },
            "links": {each["ifname"]: (each["mtu"], each["address"], "UP" in each["flags"]) for each in addresses},
            "routes": sorted((route["dst"], route["gateway"]) for some in routes for route in some if "gateway" in route),
            "bridges": [
                (each["ifname"], each["address"], "UP" in each["flags"])
                for each in json.loads(self.does("ip", "-j", "link", "show", "type", "bridge"))
            ],
            "rules": self.does("nft", "list", "ruleset"),
        }  # fmt: skip


@pytest.fixture
def host(tmp_path: pathlib.Path) -> t.Iterator[Host]:
    netns.create(Host.name)
    made = Host(tmp_path)
    made.does("ip", "link", "set", "lo", "up")
    made.does("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "router")
    made.does("ip", "address", "add", "192.0.2.7/24", "dev", "uplink")
    for name in ("uplink", "router"):
        made.does("ip", "link", "set", name, "up")
    for path in (forwarding.IPV4, forwarding.IPV6):
        made.sysctl(path, "0")
    yield made
    for name in os.listdir(netns.DIRECTORY):
        if name.startswith(PREFIX):
            netns.remove(name)


ASK = """
import socket, sys
kind, address, port = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as client:
    client.settimeout(5)
    client.connect((address, int(port)))
    client.send(b"hello")
    print(client.recv(100).decode())
"""
# Answers with the address of who asks, TCP at 80 and UDP at 53.
SERVE = """
import select, socket
by_number = {}
for kind, port in ((socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 53)):
    server = socket.socket(socket.AF_INET6, kind)
    server.bind(("::", port))
    by_number[server.fileno()] = server
    if kind == socket.SOCK_STREAM:
        server.listen()
print("ready", flush=True)
while True:
    for number in select.select(by_number, [], [])[0]:
        server = by_number[number]
        if server.type == socket.SOCK_DGRAM:
            _data, who = server.recvfrom(100)
            server.sendto(who[0].replace("::ffff:", "").encode(), who)
        else:
            client, who = server.accept()
            client.sendall(who[0].replace("::ffff:", "").encode())
            client.close()
"""


@contextlib.contextmanager
def _serving(name: str) -> t.Iterator[int]:
    argv = ["ip", "netns", "exec", name, sys.executable, "-c", SERVE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield server.pid
        finally:
            server.kill()


def _asked(name: str, kind: str, address: str, port: int) -> str:
    """What the server says to somebody in a namespace, or why there is no answer."""
    argv = ["ip", "netns", "exec", name, sys.executable, "-c", ASK, kind, address, str(port)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout if done.returncode == 0 else done.stderr.splitlines()[-1]).strip()


def test_made_and_left_alone_and_removed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = host.is_like()
    wanted: dict[str, t.Any] = {"publish": ("8080:80", "1053:53/udp"), "routes": (("10.9.0.0/16", "10.78.1.9"),)}
    predicted = host.converge(WEB, POOL, check=True, **wanted)
    assert host.is_like() == before
    made = host.converge(WEB, POOL, **wanted)
    assert made.plan == predicted.plan
    assert made.record == predicted.record
    assert [action.value for action in made.plan.actions] == [
        "record", "bridge", "namespace", "interface", "route", "forwarding", "rules",
    ]  # fmt: skip
    seen = host.of(WEB)
    assert seen["addresses"] == {"eth0": ["10.78.1.2/24", "fd00:78:1::2/64"], "lo": ["127.0.0.1/8", "::1/128"]}
    assert seen["routes"] == [("10.9.0.0/16", "10.78.1.9"), ("default", "10.78.1.1"), ("default", "fd00:78:1::1")]
    assert all(up for _mtu, _mac, up in seen["links"].values())
    assert host.sysctl(forwarding.IPV4) == "1"
    # Nothing to do: no process, no file, no change.
    like = host.is_like()
    with monkeypatch.context() as context:
        context.setattr(subprocess, "Popen", None)
        assert host.converge(WEB, POOL, **wanted).plan.actions == ()
    assert host.is_like() == like
    assert host.converge(WEB, absent=True, check=True).plan.actions == ("remove",)
    assert host.is_like() == like
    assert host.converge(WEB, absent=True).plan.actions == ("remove",)
    assert host.is_like() == before
    assert host.converge(WEB, absent=True).plan.actions == ()


def _away(host: Host) -> str:
    """Another host, 198.51.100.2 and fd00:99::2, which knows this one as 198.51.100.1 and fd00:99::1."""
    away = f"{PREFIX}-away"
    netns.create(away)
    for words in (
        f"link add cable type veth peer name eth0 netns {away}",
        "address add 198.51.100.1/24 dev cable", "address add fd00:99::1/64 dev cable nodad", "link set cable up",
        f"-n {away} address add 198.51.100.2/24 dev eth0", f"-n {away} address add fd00:99::2/64 dev eth0 nodad",
        f"-n {away} link set eth0 up",
    ):  # fmt: skip
        host.does("ip", *words.split())
    return away


def test_packets_go_where_they_shall(host: Host) -> None:
    host.converge(WEB, POOL, publish=("8080:80", "1053:53/udp", "192.0.2.7:9090:80", "7000-7001:79-80"))
    host.converge(OTHER, POOL)
    away = _away(host)
    with _serving(WEB):
        told = {
            # Who asks, what, and whom the server sees.
            (host.name, "tcp", "192.0.2.7", 8080): "192.0.2.7",
            (host.name, "udp", "192.0.2.7", 1053): "192.0.2.7",
            (host.name, "tcp", "127.0.0.1", 8080): "10.78.1.1",
            (host.name, "udp", "127.0.0.1", 1053): "10.78.1.1",
            (host.name, "tcp", "fd00:99::1", 8080): "fd00:99::1",
            (host.name, "tcp", "192.0.2.7", 9090): "192.0.2.7",
            (host.name, "tcp", "192.0.2.7", 7001): "192.0.2.7",
            (away, "tcp", "198.51.100.1", 8080): "198.51.100.2",
            (away, "udp", "198.51.100.1", 1053): "198.51.100.2",
            (away, "tcp", "fd00:99::1", 8080): "fd00:99::2",
            (away, "udp", "fd00:99::1", 1053): "fd00:99::2",
            # Itself and its neighbour, by way of the host, and without.
            (WEB, "tcp", "10.78.1.1", 8080): "10.78.1.1",
            (OTHER, "tcp", "fd00:78:1::1", 8080): "fd00:78:1::1",
            (OTHER, "udp", "10.78.1.2", 53): "10.78.1.3",
        }
        assert {question: _asked(*question) for question in told} == told
        for refused in (
            (host.name, "tcp", "127.0.0.1", 9090),
            (host.name, "tcp", "::1", 8080),
            (away, "tcp", "198.51.100.1", 9090),
        ):
            assert "refused" in _asked(*refused)
    with _serving(away):
        # Masqueraded.
        assert _asked(WEB, "tcp", "198.51.100.2", 80) == "198.51.100.1"
        assert _asked(WEB, "udp", "fd00:99::2", 53) == "fd00:99::1"


@pytest.mark.parametrize("publish", [("127.0.0.1:9090:80",), ("9090:80",)])
def test_nobody_gets_at_loopback_from_elsewhere(host: Host, publish: tuple[str, ...]) -> None:
    """Neither who has a route for it by this host, nor a container on a bridge where nothing is published (moby 41872)."""
    host.converge(WEB, POOL, publish=publish)
    host.converge(OTHER, Interface(bridge="lsu-br1", subnet=("10.79.1.0/24",)))
    away = _away(host)
    for name, router in ((away, "198.51.100.1"), (OTHER, "10.79.1.1")):
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "down"], check=True)
        subprocess.run(["ip", "-n", name, "route", "add", "127.0.0.1", "via", router], check=True)
        netns.inside(name, lambda: forwarding.write("net/ipv4/conf/eth0/route_localnet", "1"))
    with _serving(WEB), _serving(host.name):
        assert _asked(host.name, "tcp", "127.0.0.1", 9090) == "10.78.1.1"
        questions = itertools.product((away, OTHER), (9090, 80))
        with concurrent.futures.ThreadPoolExecutor() as side_by_side:
            answers = list(side_by_side.map(lambda each: _asked(each[0], "tcp", "127.0.0.1", each[1]), questions))
        assert ["timed out" in answer for answer in answers] == [True] * 4, answers


# Says hello from one port to another again and again, until there is an answer.
INSIST = """
import socket, sys, time
address = sys.argv[1]
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.bind(("", 9999))
    client.settimeout(0.2)
    while True:
        client.sendto(b"hello", (address, 1053))
        print("asked", flush=True)
        try:
            print(client.recv(100).decode(), flush=True)
            break
        except OSError:
            pass
"""


@pytest.mark.parametrize(("address", "own"), [("198.51.100.1", "198.51.100.2"), ("fd00:99::1", "fd00:99::2")])
def test_a_client_of_udp_that_was_there_before_gets_through(host: Host, address: str, own: str) -> None:
    away = _away(host)
    host.converge(OTHER, POOL)  # so that flows are tracked
    argv = ["ip", "netns", "exec", away, sys.executable, "-c", INSIST, address]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout is not None
            assert [client.stdout.readline() for _time in range(3)] == ["asked\n"] * 3
            host.converge(WEB, POOL, publish=("1053:53/udp",))
            with _serving(WEB):
                client.wait(timeout=30)
                assert client.stdout.read().splitlines()[-1] == own
        finally:
            client.kill()


def test_what_was_changed_by_hand_is_mended(host: Host) -> None:
    wanted: dict[str, t.Any] = {"publish": ("8080:80",), "routes": (("10.9.0.0/16", "10.78.1.9"),)}
    host.converge(WEB, POOL, **wanted)
    like, seen = host.is_like(), host.of(WEB)
    end = next(name for name in like["links"] if name.startswith("ls-"))
    for action, words in (
        ("interface", f"ip -n {WEB} address delete 10.78.1.2/24 dev eth0"),
        ("interface", f"ip -n {WEB} link set eth0 address 02:00:00:00:00:09"),
        ("interface", f"ip -n {WEB} link set eth0 mtu 1400"),
        ("interface", f"ip -n {WEB} link set eth0 down"),
        ("interface", f"ip -n {WEB} link set lo down"),
        ("interface", f"ip link set {end} nomaster"),
        ("interface", f"ip link delete {end}"),
        ("route", f"ip -n {WEB} route delete 10.9.0.0/16"),
        ("route", f"ip -n {WEB} route replace default via 10.78.1.7 proto static"),
        ("bridge", "ip address delete 10.78.1.1/24 dev longshore0"),
        ("bridge", "ip link set longshore0 down"),
        ("bridge", "ip link delete longshore0"),
        ("forwarding", f"sh -c 'echo 0 > /proc/sys/{forwarding.IPV4}'"),
        ("rules", "nft delete table inet longshore-"),
        ("rules", "nft flush chain inet longshore- prerouting"),
        ("rules", "nft add rule inet longshore- prerouting tcp dport 1 drop"),
        ("rules", "nft 'add chain inet longshore- postrouting { policy drop; }'"),
        ("namespace", f"ip netns delete {WEB}"),
    ):  # fmt: skip
        table = like["rules"].split()[2]
        host.does("sh", "-c", words.replace("longshore-", table))
        predicted = host.converge(WEB, POOL, check=True, **wanted).plan
        assert host.describe(WEB).outcome.plan == predicted, words
        mended = host.converge(WEB, POOL, **wanted).plan
        assert mended == predicted, words
        assert action in mended.actions, words
        assert host.of(WEB) == seen, words
        assert host.is_like() == like, words
        assert host.converge(WEB, POOL, **wanted).plan.actions == (), words


def test_what_others_add_is_left_alone(host: Host) -> None:
    host.converge(WEB, POOL)
    for words in (
        f"ip -n {WEB} address add 10.78.1.200/32 dev eth0", f"ip -n {WEB} link add own type veth peer name own2",
        f"ip -n {WEB} route add 10.8.0.0/16 via 10.78.1.8", "ip address add 10.80.0.1/24 dev longshore0",
        "nft add table ip other",
    ):  # fmt: skip
        host.does("sh", "-c", words)
    assert host.converge(WEB, POOL).plan.actions == ()
    host.converge(WEB, POOL._replace(subnet=("10.79.1.0/24",)))
    seen = host.of(WEB)
    assert seen["addresses"]["eth0"] == ["10.78.1.200/32", "10.79.1.2/24"]
    assert "own" in seen["links"]
    assert "10.80.0.1/24" in host.does("ip", "-br", "address", "show", "longshore0")
    assert host.converge(WEB, absent=True).plan.actions == ("remove",)
    assert host.is_like()["rules"] == "table ip other {\n}\n"


@pytest.mark.parametrize(
    ("change", "actions"),
    [
        ({"subnet": ("10.78.1.0/24",)}, {"record", "bridge", "interface", "route", "rules"}),
        ({"address": ("10.78.1.99", "fd00:78:1::9")}, {"record", "interface", "rules"}),
        ({"gateway": ("10.78.1.254", "fd00:78:1::1")}, {"record", "bridge", "route"}),
        ({"mac": "02:00:00:00:00:07"}, {"record", "interface"}),
        ({"mtu": 9000}, {"record", "interface"}),
        ({"bridge": "lsu-br1"}, {"record", "bridge", "interface", "rules", "forwarding"}),
        ({"name": "net1"}, {"record", "interface", "route"}),
    ],
)  # fmt: skip
def test_a_change_is_made_in_place_and_back(host: Host, change: dict[str, t.Any], actions: set[str]) -> None:
    """Whatever uses the namespace goes on in it."""
    publish = ("8080:80",)
    host.converge(WEB, POOL, publish=publish)
    like, seen, where = host.is_like(), host.of(WEB), os.stat(netns.path_of(WEB)).st_ino
    changed = POOL._replace(**change)
    plan = host.converge(WEB, changed, check=True, publish=publish).plan
    made = host.converge(WEB, changed, publish=publish)
    assert made.record is not None
    assert made.plan == plan
    assert {action.value for action in plan.actions} - {"route"} == actions - {"route"}
    assert host.converge(WEB, changed, publish=publish).plan.actions == ()
    assert host.of(WEB) != seen
    assert os.stat(netns.path_of(WEB)).st_ino == where
    with _serving(WEB):
        assert _asked(host.name, "tcp", "127.0.0.1", 8080) == made.record.interfaces[0].host_gateways[0]
    host.converge(WEB, POOL._replace(address=("10.78.1.2", "fd00:78:1::2")), publish=publish)
    host.converge(WEB, POOL, publish=publish)
    assert host.of(WEB) == seen
    assert host.is_like() == like


def test_the_last_one_takes_the_bridge_along(host: Host) -> None:
    before = host.is_like()
    host.converge(WEB, POOL, publish=("8080:80",))
    host.converge(OTHER, POOL)
    host.converge(WEB, absent=True)
    assert "longshore0" in host.is_like()["links"]
    assert "8080" not in host.is_like()["rules"]
    host.does("ip", "link", "add", "guest", "master", "longshore0", "type", "veth", "peer", "name", "guest2")
    host.converge(OTHER, absent=True)
    # Somebody else has come to use it.
    assert "longshore0" in host.is_like()["links"]
    host.does("ip", "link", "delete", "guest")
    host.converge(OTHER, POOL)
    # Nor does what lies on top of it go with it.
    host.does("ip", "link", "add", "guest", "link", "longshore0", "type", "macvlan")
    host.converge(OTHER, absent=True)
    assert "guest" in host.is_like()["links"]
    host.does("ip", "link", "delete", "guest")
    host.converge(OTHER, POOL)
    host.converge(OTHER, absent=True)
    assert host.is_like() == before


def test_a_bridge_of_somebody_else_stays_as_it_is(host: Host) -> None:
    host.does("ip", "link", "add", "br0", "type", "bridge")
    host.does("ip", "address", "add", "10.78.1.5/24", "dev", "br0")
    host.does("ip", "link", "set", "br0", "up")
    before = host.is_like()
    wanted = Interface(bridge="br0", address=("10.78.1.2/24",), gateway=("10.78.1.5",))
    host.converge(WEB, wanted, publish=("8080:80",))
    with _serving(WEB):
        assert _asked(host.name, "tcp", "192.0.2.7", 8080) == "192.0.2.7"
        assert "refused" in _asked(host.name, "tcp", "127.0.0.1", 8080)
    host.converge(WEB, absent=True)
    assert host.is_like() == before


def test_what_is_in_the_place_of_one_is_told(host: Host) -> None:
    assert host.describe(WEB).outcome.record is None
    host.converge(WEB, POOL)
    subprocess.run(["ip", "-n", WEB, "link", "delete", "eth0"], check=True)
    subprocess.run(["ip", "-n", WEB, "link", "add", "eth0", "type", "veth", "peer", "name", "other"], check=True)
    assert "has an interface eth0 that Longshore has not created" in host.describe(WEB).conflict
    netns.remove(WEB)
    netns.create(WEB)
    known = host.describe(WEB)
    assert "Longshore has not created it" in known.conflict
    assert known.outcome.record is not None
    assert (known.outcome.plan.actions, known.outcome.warnings, known.users) == ((), (), ())


def test_what_is_in_the_way_is_said(host: Host) -> None:
    before = host.is_like()
    netns.create(OTHER)
    for name, interface, more, says in (
        (OTHER, POOL, {}, "Longshore has not created it"),
        (OTHER, POOL, {"absent": True}, "Longshore has not created it"),
        (WEB, POOL._replace(bridge="uplink"), {}, "uplink is an interface of this host, and not a bridge"),
        (WEB, Interface(subnet=("192.0.2.0/28",)), {}, r"overlaps with 192\.0\.2\.7/24 on uplink of this host"),
    ):
        for check in (True, False):
            with pytest.raises(EngineError, match=says):
                host.converge(name, interface, check=check, **more)
    netns.remove(OTHER)
    with _serving(host.name), pytest.raises(EngineError, match=r"80:8080/tcp cannot be published: 80/tcp is in use"):
        host.converge(WEB, POOL, publish=("80:8080",))
    assert host.is_like() == before
    host.converge(WEB, POOL, publish=("80:8080",))
    with (
        _serving(WEB) as pid,
        pytest.raises(EngineError, match=rf"is in use by \S+ \(process {pid}\)\. Stop that first"),
    ):
        host.converge(WEB, absent=True)
    with _serving(WEB) as pid:
        assert [(user.pid, user.container) for user in host.describe(WEB).users] == [(pid, None)]
    assert host.converge(WEB, POOL, publish=("80:8080",)).plan.actions == ()
    subprocess.run(["ip", "-n", WEB, "link", "add", "eth1", "type", "veth", "peer", "name", "other"], check=True)
    with pytest.raises(EngineError, match="has an interface eth1 that Longshore has not created"):
        host.converge(WEB, POOL, Interface("eth1", "br1"))


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
    assert ["The chain FORWARD of the table ip filter drops" in text for text in outcome.warnings] == [True] * warned
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
        " what comes from longshore0 and lsu-br1 and what goes there. For good: firewall-cmd --permanent --zone trusted"
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


def test_after_a_reboot_it_is_the_same(host: Host) -> None:
    """The state directory is all that is left."""
    before = host.is_like()
    publish = ("8080:80",)
    for name in (OTHER, WEB):
        host.converge(name, POOL, publish=publish if name == WEB else ())
    seen = host.of(WEB)
    for name in (WEB, OTHER):
        host.does("ip", "netns", "delete", name)
    host.does("sh", "-c", "ip link delete longshore0; nft flush ruleset")
    for path in (forwarding.IPV4, forwarding.IPV6):
        host.sysctl(path, "0")
    (host.run_dir / "network.json").unlink()
    lacks = host.describe(WEB).outcome.plan.actions
    assert host.converge(WEB, POOL, publish=publish).plan.actions == lacks
    assert set(lacks) == {"bridge", "namespace", "interface", "route", "forwarding", "rules"}
    now = host.of(WEB)
    assert f'comment "{OTHER}"' not in now["rules"]
    host.converge(OTHER, POOL)
    assert host.of(WEB) == seen
    for name in (WEB, OTHER):
        host.converge(name, absent=True)
    assert host.is_like() == before


def test_the_broken_bridge_of_another_network_is_its_own_business(host: Host) -> None:
    host.converge(WEB, POOL, publish=("8080:80",))
    host.does("ip", "link", "delete", "longshore0")
    elsewhere = Interface(bridge="lsu-br1", subnet=("10.79.1.0/24",))
    host.converge(OTHER, elsewhere)
    assert host.converge(OTHER, elsewhere).plan.actions == ()
    host.converge(OTHER, absent=True)
    host.converge(WEB, POOL, publish=("8080:80",))
    assert host.converge(WEB, POOL, publish=("8080:80",)).plan.actions == ()


def test_what_the_kernel_changes_along_is_set_back(host: Host) -> None:
    """Forwarding on and off again is more than one sysctl (devinet.c, addrconf.c)."""
    kept = {
        "net/ipv4/conf/all/accept_redirects": "0", "net/ipv4/conf/uplink/forwarding": "1", "net/ipv6/conf/uplink/forwarding": "1",
    }  # fmt: skip
    for path, value in kept.items():
        host.sysctl(path, value)
    host.converge(WEB, POOL)
    host.converge(OTHER, POOL)
    for name in (WEB, OTHER):
        host.converge(name, absent=True)
    assert {path: host.sysctl(path) for path in kept} == kept
    assert host.sysctl(forwarding.IPV4) == host.sysctl(forwarding.IPV6) == "0"


def test_two_state_directories_on_a_host(host: Host, tmp_path: pathlib.Path) -> None:
    host.converge(WEB, POOL)
    second = Host(tmp_path / "second")
    second.converge(OTHER, Interface(bridge="lsu-br1", subnet=("10.79.1.0/24",)))
    host.converge(WEB, absent=True)
    assert host.sysctl(forwarding.IPV4) == "1"
    assert second.converge(OTHER, Interface(bridge="lsu-br1", subnet=("10.79.1.0/24",))).plan.actions == ()
    second.converge(OTHER, absent=True)


def test_the_spelling_of_the_state_directory_is_nothing(host: Host, tmp_path: pathlib.Path) -> None:
    before = host.is_like()
    host.converge(WEB, POOL)
    host.networks = Survey(state_dir=f"{tmp_path}/./state/", run_dir=str(host.run_dir))
    assert host.converge(WEB, POOL).plan.actions == ()
    host.converge(WEB, absent=True)
    assert host.is_like() == before


def test_a_namespace_of_somebody_else_is_not_taken(host: Host) -> None:
    """Of the same name, made when ours was gone."""
    host.converge(WEB, POOL)
    netns.remove(WEB)
    netns.create(WEB)
    theirs = os.stat(netns.path_of(WEB)).st_ino
    with pytest.raises(EngineError, match="Longshore has not created it"):
        host.converge(WEB, POOL)
    assert host.converge(WEB, absent=True).plan.actions == ("remove",)
    assert os.stat(netns.path_of(WEB)).st_ino == theirs
    netns.remove(WEB)
    # One without any interface is known, too.
    host.converge(OTHER)
    assert host.converge(OTHER).plan.actions == ()
    assert host.converge(OTHER, absent=True).plan.actions == ("remove",)
    assert not os.path.lexists(netns.path_of(OTHER))


def test_the_first_address_is_the_first(host: Host) -> None:
    wanted = Interface(address=("10.78.1.9/24", "10.78.1.10/24"), gateway=("10.78.1.1",))
    host.converge(WEB, wanted, publish=("8080:80",))
    assert "dnat ip to 10.78.1.9:80" in host.does("nft", "list", "ruleset")
    assert "src 10.78.1.9" in subprocess.check_output(["ip", "-n", WEB, "route", "get", "10.78.1.77"], text=True)
    assert host.converge(WEB, wanted, publish=("8080:80",)).plan.actions == ()


def test_a_port_that_somebody_took_meanwhile_is_not_taken_away(host: Host) -> None:
    """Between a reboot and the task."""
    host.converge(WEB, POOL, publish=("80:80",))
    host.does("sh", "-c", f"ip netns delete {WEB}; nft flush ruleset")
    with _serving(host.name), pytest.raises(EngineError, match="80:80/tcp cannot be published: 80/tcp is in use"):
        host.converge(WEB, POOL, publish=("80:80",))
    assert host.converge(WEB, POOL, publish=("80:80", "10.78.1.1:81:81")).warnings == ()


def test_another_task_that_is_half_way_is_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a lock, its namespace would look like a stranger's."""
    answers = iter([Conflict("half way"), None])

    def look(*arguments: t.Any) -> t.Any:
        answer = next(answers)
        if answer is not None:
            raise answer
        return original(*arguments)

    original = observe.look
    monkeypatch.setattr(observe, "look", look)
    host.converge(WEB, POOL)


def test_without_the_right_to_it_says_so(tmp_path: pathlib.Path) -> None:
    """As root of a container has it."""
    code = (
        "import sys\n"
        f"from {Networks.__module__} import Networks\n"
        f"from {Request.__module__} import Request\n"
        "try: Networks(state_dir=sys.argv[1], run_dir=sys.argv[1]).converge(Request('x'))\n"
        f"except Exception as exc: print(type(exc).__name__, exc)\n"
    )
    argv = ["setpriv", "--bounding-set=-net_admin", sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=programs.python_environment())
    assert done.stdout.startswith("EngineError Cannot ")
    assert "CAP_NET_ADMIN" in done.stdout


def test_a_list_that_changed_meanwhile_is_asked_for_again() -> None:
    from pyroute2.netlink.exceptions import NetlinkDumpInterrupted

    def interrupted(message: t.Any, times: int) -> t.Any:
        def call() -> t.Any:
            if next(count) >= times:
                return [{"header": {"flags": 2}}]
            if message is None:
                raise NetlinkDumpInterrupted
            return [message]

        count = itertools.count()
        return call

    for message in (None, {"header": {"flags": 0x12}}):
        assert netlink.ask("list", interrupted(message, 3)) == [{"header": {"flags": 2}}]
        with pytest.raises(EngineError, match="other programs change it continuously"):
            netlink.ask("list", interrupted(message, 99))


# What changes something: a task may be killed before each of them, that is after the one before.
STEPS = (
    (Records, "save"), (Records, "save_changed"), (Records, "forget"), (links.Links, "create_bridge"), (links.Links, "create_veth_pair"),
    (links.Links, "change"), (links.Links, "add_address"), (links.Links, "add_route"), (links.Links, "remove"),
    (links.Links, "set_hairpin"), (netns, "create"), (netns, "remove"), (firewall, "load"), (forwarding, "write"),
    (forwarding, "write_all"),
)  # fmt: skip


class Killed(BaseException):
    pass


def _killed_at(number: int, monkeypatch: pytest.MonkeyPatch, work: t.Callable[[], object]) -> bool:
    """Whether there were so many steps."""
    count = itertools.count()

    def step(original: t.Callable[..., object]) -> t.Callable[..., object]:
        def until_then(*arguments: t.Any, **more: t.Any) -> object:
            if next(count) == number:
                raise Killed
            return original(*arguments, **more)

        return until_then

    with monkeypatch.context() as context:
        for owner, name in STEPS:
            context.setattr(owner, name, step(getattr(owner, name)))
        try:
            work()
        except Killed:
            return True
    return False


def test_a_killed_task_is_completed_by_the_next(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = host.is_like()
    publish = ("8080:80",)
    host.converge(WEB, POOL, publish=publish)
    made = host.of(WEB), host.is_like()
    host.converge(WEB, absent=True)
    seen: collections.Counter[str] = collections.Counter()
    for number in itertools.count():
        killed = _killed_at(number, monkeypatch, lambda: host.converge(WEB, POOL, publish=publish))
        host.converge(WEB, POOL, publish=publish)
        assert (host.of(WEB), host.is_like()) == made, number
        also = _killed_at(number, monkeypatch, lambda: host.converge(WEB, absent=True))
        host.converge(WEB, absent=True)
        assert host.is_like() == before, number
        seen.update(made=killed, removed=also)
        if not killed:
            break
        # Removed after a launch that was killed.
        _killed_at(number, monkeypatch, lambda: host.converge(WEB, POOL, publish=publish))
        host.converge(WEB, absent=True)
        assert host.is_like() == before, number
    assert seen["made"] > 20
    assert seen["removed"] > 6


@pytest.mark.parametrize(
    "other",
    [
        Interface("net1", "lsu-br1", subnet=("10.79.1.0/24",)),
        POOL._replace(address=("10.78.1.99", "fd00:78:1::99"), gateway=("10.78.1.254",)),
    ],
)  # fmt: skip
def test_a_killed_change_is_completed_by_the_next(
    host: Host, monkeypatch: pytest.MonkeyPatch, other: Interface
) -> None:
    """Beside a network that stays, so that the bridge does."""
    host.converge(OTHER, POOL)
    before = host.is_like()
    host.converge(WEB, other)
    changed = host.of(WEB), host.is_like()
    for number in itertools.count():
        host.converge(WEB, POOL._replace(address=("10.78.1.3", "fd00:78:1::3")), routes=(("10.9.0.0/16", "10.78.1.9"),))
        killed = _killed_at(number, monkeypatch, lambda: host.converge(WEB, other))
        host.converge(WEB, other)
        assert (host.of(WEB), host.is_like()) == changed, number
        if not killed:
            break
    assert number > 10
    for number in itertools.count():
        killed = _killed_at(number, monkeypatch, lambda: host.converge(WEB, absent=True))
        host.converge(WEB, absent=True)
        assert host.is_like() == before, number
        if not killed:
            break
        host.converge(WEB, other)


def test_a_process_that_comes_in_after_the_look_keeps_its_network(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.converge(WEB, POOL, publish=("8080:80",))
    made = host.of(WEB), host.is_like()
    looked = in_use.check_unused
    children: list[subprocess.Popen[bytes]] = []

    def look(*arguments: t.Any) -> None:
        looked(*arguments)
        if not children:
            children.append(subprocess.Popen(["ip", "netns", "exec", WEB, "sleep", "60"]))
            while not netns.users(netns.path_of(WEB)):
                os.sched_yield()

    # Before the last look that there was.
    monkeypatch.setattr(Networks, "_look", lambda _networks, _request: None)
    monkeypatch.setattr(in_use, "check_unused", look)
    try:
        with pytest.raises(Conflict, match=f"The network {WEB} is in use by sleep"):
            host.converge(WEB, absent=True)
        assert (host.of(WEB), host.is_like()) == made
        assert host.converge(WEB, POOL, publish=("8080:80",)).plan.actions == ()
    finally:
        for child in children:
            child.kill()
            child.wait()
    host.converge(WEB, absent=True)
    assert not netns.exists(WEB)


@pytest.fixture
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes something beside files is a step of killing.py as well: a call of the kernel's, and one of netlink."""
    monkeypatch.setattr(killing, "_EVENTS", {*killing._EVENTS, "longshore.step"})

    def step(name: str, original: t.Callable[..., object]) -> t.Callable[..., object]:
        def audited(*arguments: t.Any, **more: t.Any) -> object:
            sys.audit("longshore.step", name, arguments[:1])
            return original(*arguments, **more)

        return audited

    for owner, names in (
        (links.Links, ("create_bridge", "create_veth_pair", "remove")),
        (netns, ("_mount", "_checked")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, step(name, getattr(owner, name)))


def test_a_task_that_gets_a_signal_is_completed_by_the_next(host: Host, exactly: None) -> None:
    """As above, with SIGKILL, so that nothing is cleared away by the task itself."""

    def is_like() -> dict[str, t.Any]:
        # Of what a task wrote as it was killed only the whole file counts here; files.write_text has its own tests.
        found = host.is_like()
        return {**found, "files": [path for path in found["files"] if not re.search(r"\.\d+\.[0-9a-f]{8}$", path)]}

    def make() -> Outcome:
        return host.converge(WEB, POOL, publish=("8080:80",))

    def remove() -> Outcome:
        return host.converge(WEB, absent=True)

    before = host.is_like()
    make()
    remove()  # Directories are left.
    steps = killing.steps(make)
    made = host.of(WEB), is_like()
    gone = killing.steps(remove)
    assert is_like() == before
    for task, names in ((make, steps), (remove, gone)):
        # Each step is one of the tests above. These make a difference when the task has no chance to clear away.
        some = [
            number for number, name in enumerate(names) if name.startswith(("os.re", "subprocess", "longshore.step"))
        ]
        for count, number in enumerate(killing.spread(len(some), 16)):
            if task is remove:
                make()
            assert killing.kill(task, at=some[number]).was_killed
            if count % 3 == 2:
                make()
                assert (host.of(WEB), is_like()) == made, names[some[number]]
            remove()
            assert is_like() == before, names[some[number]]


def test_only_root_makes_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EngineError, match=r"Only root can create networks, and .*network_helper"):
        Networks(state_dir=str(tmp_path), run_dir=str(tmp_path)).converge(Request("web"))
