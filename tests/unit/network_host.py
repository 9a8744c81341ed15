# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of its own for tests of networks: a network namespace in which all is done, with its own sysctls and tables."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._network import forwarding
from ansible_collections.longshore.oci.plugins.module_utils._network.networks import Outcome
from ansible_collections.longshore.oci.plugins.module_utils._network.survey import Known, Survey
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import Interface, Request

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
def serving(name: str) -> t.Iterator[int]:
    argv = ["ip", "netns", "exec", name, sys.executable, "-c", SERVE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield server.pid
        finally:
            server.kill()


def asked(name: str, kind: str, address: str, port: int) -> str:
    """What the server says to somebody in a namespace, or why there is no answer."""
    argv = ["ip", "netns", "exec", name, sys.executable, "-c", ASK, kind, address, str(port)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout if done.returncode == 0 else done.stderr.splitlines()[-1]).strip()


def neighbour(host: Host) -> str:
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
