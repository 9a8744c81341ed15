# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks with the real kernel: where packets go."""

from __future__ import annotations

import concurrent.futures
import itertools
import subprocess
import sys

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._network import forwarding
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


def test_packets_go_where_they_shall(host: Host) -> None:
    host.converge(WEB, POOL, publish=("8080:80", "1053:53/udp", "192.0.2.7:9090:80", "7000-7001:79-80"))
    host.converge(OTHER, POOL)
    away = neighbour(host)
    with serving(WEB):
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
        assert {question: asked(*question) for question in told} == told
        for refused in (
            (host.name, "tcp", "127.0.0.1", 9090),
            (host.name, "tcp", "::1", 8080),
            (away, "tcp", "198.51.100.1", 9090),
        ):
            assert "refused" in asked(*refused)
    with serving(away):
        # Masqueraded.
        assert asked(WEB, "tcp", "198.51.100.2", 80) == "198.51.100.1"
        assert asked(WEB, "udp", "fd00:99::2", 53) == "fd00:99::1"


@pytest.mark.parametrize("publish", [("127.0.0.1:9090:80",), ("9090:80",)])
def test_nobody_gets_at_loopback_from_elsewhere(host: Host, publish: tuple[str, ...]) -> None:
    """Neither who has a route for it by this host, nor a container on a bridge where nothing is published (moby 41872)."""
    host.converge(WEB, POOL, publish=publish)
    host.converge(OTHER, Interface(bridge="lsu-br1", subnet=("10.79.1.0/24",)))
    away = neighbour(host)
    for name, router in ((away, "198.51.100.1"), (OTHER, "10.79.1.1")):
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "down"], check=True)
        subprocess.run(["ip", "-n", name, "route", "add", "127.0.0.1", "via", router], check=True)
        netns.inside(name, lambda: forwarding.write("net/ipv4/conf/eth0/route_localnet", "1"))
    with serving(WEB), serving(host.name):
        assert asked(host.name, "tcp", "127.0.0.1", 9090) == "10.78.1.1"
        questions = itertools.product((away, OTHER), (9090, 80))
        with concurrent.futures.ThreadPoolExecutor() as side_by_side:
            answers = list(side_by_side.map(lambda each: asked(each[0], "tcp", "127.0.0.1", each[1]), questions))
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
    away = neighbour(host)
    host.converge(OTHER, POOL)  # so that flows are tracked
    argv = ["ip", "netns", "exec", away, sys.executable, "-c", INSIST, address]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout is not None
            assert [client.stdout.readline() for _time in range(3)] == ["asked\n"] * 3
            host.converge(WEB, POOL, publish=("1053:53/udp",))
            with serving(WEB):
                client.wait(timeout=30)
                assert client.stdout.read().splitlines()[-1] == own
        finally:
            client.kill()
