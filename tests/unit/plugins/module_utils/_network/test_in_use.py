# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in the way: programs with ports, and processes in a namespace."""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._network import in_use
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import Interface
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders
from ansible_collections.longshore.oci.tests.unit.network_host import OTHER, POOL, WEB, Host, host, serving

__all__ = ["host"]  # the fixture


def test_what_is_in_the_way_is_said(host: Host) -> None:
    before = host.is_like()
    netns.create(OTHER)
    for name, interface, more, says in (
        (OTHER, POOL, {}, "Longshore has not created it"),
        (OTHER, POOL, {"absent": True}, "Longshore has not created it"),
        (WEB, POOL._replace(bridge="uplink"), {}, "uplink is an interface of this host, but not a bridge"),
        (WEB, Interface(subnet=("192.0.2.0/28",)), {}, r"overlaps with 192\.0\.2\.7/24 on uplink of this host"),
    ):
        for check in (True, False):
            with pytest.raises(LongshoreError, match=says):
                host.converge(name, interface, check=check, **more)
    netns.remove(OTHER)
    with serving(host.name), pytest.raises(LongshoreError, match=r"80:8080/tcp cannot be published: 80/tcp is in use"):
        host.converge(WEB, POOL, publish=("80:8080",))
    assert host.is_like() == before
    host.converge(WEB, POOL, publish=("80:8080",))
    with (
        serving(WEB) as pid,
        pytest.raises(LongshoreError, match=rf"is in use by \S+ \(process {pid}\)\. Stop it first"),
    ):
        host.converge(WEB, absent=True)
    with serving(WEB) as pid:
        assert [(user.pid, user.container) for user in host.describe(WEB).users] == [(pid, None)]
    assert host.converge(WEB, POOL, publish=("80:8080",)).plan.actions == ()
    subprocess.run(["ip", "-n", WEB, "link", "add", "eth1", "type", "veth", "peer", "name", "other"], check=True)
    with pytest.raises(LongshoreError, match="has an interface eth1 that Longshore has not created"):
        host.converge(WEB, POOL, Interface("eth1", "br1"))


def test_a_port_that_somebody_took_meanwhile_is_not_taken_away(host: Host) -> None:
    """Between a reboot and the task."""
    host.converge(WEB, POOL, publish=("80:80",))
    host.does("sh", "-c", f"ip netns delete {WEB}; nft flush ruleset")
    with serving(host.name), pytest.raises(LongshoreError, match="80:80/tcp cannot be published: 80/tcp is in use"):
        host.converge(WEB, POOL, publish=("80:80",))
    assert host.converge(WEB, POOL, publish=("80:80", "10.78.1.1:81:81")).warnings == ()


def test_a_process_that_comes_in_after_the_look_keeps_its_network(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.converge(WEB, POOL, publish=("8080:80",))
    made = host.of(WEB), host.is_like()
    looked, looks = in_use.check_unused, 0
    children: list[subprocess.Popen[bytes]] = []

    def look(*arguments: t.Any) -> None:
        nonlocal looks
        looked(*arguments)
        looks += 1
        if looks == 2:
            children.append(subprocess.Popen(["ip", "netns", "exec", WEB, "sleep", "60"]))
            while not netns.users(netns.path_of(WEB)):
                os.sched_yield()

    # After the look without the lock and the one under it, before the last one.
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


@pytest.mark.parametrize("publish", [(), ("8080:80",)])
@pytest.mark.parametrize(
    "change", ["ip link delete {0}; ip link add {0} type bridge", "ip link set {0} address 02:00:00:00:00:09"]
)
@pytest.mark.parametrize("bridge", ["longshore0", "lsu-br1"])
def test_a_bridge_in_the_place_of_ours(host: Host, bridge: str, change: str, publish: tuple[str, ...]) -> None:
    interface = POOL._replace(bridge=bridge)
    made = host.converge(WEB, interface, publish=publish)
    host.does("sh", "-c", change.format(bridge))
    like, says = host.is_like(), f"The bridge {bridge} is not the one that Longshore has created"
    for check in (True, False):
        with pytest.raises(Conflict, match=says) as caught:
            host.converge(WEB, interface, publish=publish, check=check)
    assert says in host.describe(WEB).conflict
    assert host.is_like() == like
    host.does("sh", "-c", caught.value.hint.partition(": ")[2].partition(".")[0])
    host.converge(WEB, interface, publish=publish)
    assert host.converge(WEB, interface, publish=publish).record == made.record


@pytest.mark.parametrize("option", ["listen", "reserve_ports"])
def test_the_port_of_a_container(host: Host, option: str) -> None:
    """conmon has the socket, and the container is named. What a container reserves may be published for it."""
    store = Store(state_dir=str(host.run_dir.parent / "state"), run_dir=str(host.run_dir))
    with serving(host.name) as pid:
        os.makedirs(store.paths("shop").state)
        definition = builders.definition(**{option: ["80"]})
        store.save(builders.record(name="shop", phase=Phase.RUNNING, definition=definition, monitor=identify(pid)))
        if option == "reserve_ports":
            host.converge(WEB, POOL, publish=("80:8080",))
            return
        with pytest.raises(Conflict, match="80:8080/tcp cannot be published: 80/tcp is in use by the container shop"):
            host.converge(WEB, POOL, publish=("80:8080",))
