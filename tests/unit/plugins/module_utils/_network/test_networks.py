# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks with the real kernel, on a host of their own: made, left alone and removed."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    Conflict,
    LongshoreError,
    MissingPrerequisite,
)
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._network import forwarding, observe
from ansible_collections.longshore.oci.plugins.module_utils._network.networks import Networks
from ansible_collections.longshore.oci.plugins.module_utils._network.survey import Survey
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import names
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import Interface, Request
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, programs
from ansible_collections.longshore.oci.tests.unit.network_host import OTHER, POOL, WEB, Host, asked, host, serving

__all__ = ["host"]  # the fixture


@pytest.mark.parametrize("full", ["state", "run", "both"])
@pytest.mark.parametrize("others", [True, False])
def test_removed_from_a_full_disk(host: Host, full: str, others: bool) -> None:
    """Which the removal makes room on. Another network stays as it is."""
    before = host.is_like()
    tops = [host.run_dir.parent / name for name in ("state", "run") if full in (name, "both")]
    for top in tops:
        top.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k,mode=755", "t", top], check=True)
    try:
        if others:
            host.converge(OTHER, Interface(bridge="lsbr1", subnet=("10.78.9.0/24",)), publish=("8081:80",))
        host.converge(WEB, POOL, publish=("8080:80",))
        for top in tops:
            with contextlib.suppress(OSError), open(top / "fill", "wb", buffering=0) as stream:
                while stream.write(b"x" * 4096):
                    pass
        assert host.converge(WEB, absent=True).plan.actions == ("remove",)
        assert not netns.exists(WEB)
        rules = host.does("nft", "list", "ruleset")
        assert ("8080" in rules, "8081" in rules) == (False, others)
        assert host.converge(WEB, absent=True).plan.actions == ()
        for top in tops:
            (top / "fill").unlink()
        if others:
            kept = host.converge(OTHER, Interface(bridge="lsbr1", subnet=("10.78.9.0/24",)), publish=("8081:80",))
            # The file with the rules had no room.
            assert kept.plan.actions == (() if full == "state" else ("rules",))
            host.converge(OTHER, absent=True)
        assert host.is_like() == before
    finally:
        for top in tops:
            subprocess.run(["umount", "--lazy", top], check=True)


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
    with serving(WEB):
        assert asked(host.name, "tcp", "192.0.2.7", 8080) == "192.0.2.7"
        assert "refused" in asked(host.name, "tcp", "127.0.0.1", 8080)
    host.converge(WEB, absent=True)
    assert host.is_like() == before


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
    with pytest.raises(LongshoreError, match="Longshore has not created it"):
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
    assert done.stdout.startswith("LongshoreError Cannot ")
    assert "CAP_NET_ADMIN" in done.stdout


def test_only_root_makes_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingPrerequisite, match=r"Only root can create networks, and .*network_helper"):
        Networks(state_dir=str(tmp_path), run_dir=str(tmp_path)).converge(Request("web"))


def test_rules_of_criu_are_seen_and_removed(host: Host) -> None:
    """What a dump leaves in a network that outlives its container, as CRIU loads it (criu/net.c)."""
    wanted: dict[str, t.Any] = {"publish": ("8080:80",)}
    host.converge(WEB, POOL, **wanted)
    lock = "*filter\n:CRIU - [0:0]\n-I INPUT -j CRIU\n-I OUTPUT -j CRIU\n-A CRIU -j DROP\nCOMMIT\n"
    subprocess.run(["ip", "netns", "exec", WEB, "iptables-restore", "-n"], input=lock, text=True, check=True)
    assert host.describe(WEB).outcome.plan.actions == ("unlock",)
    predicted = host.converge(WEB, POOL, check=True, **wanted).plan
    assert predicted.differences == {"locked": (True, False)}
    assert host.converge(WEB, POOL, **wanted).plan == predicted
    with serving(WEB):
        assert asked(host.name, "tcp", "192.0.2.7", 8080) == "192.0.2.7"
    assert host.describe(WEB).outcome.plan.actions == ()
    # A restore removes them: until then, no connection of the container is reset.
    store = Store(state_dir=str(host.run_dir.parent / "state"), run_dir=str(host.run_dir))
    config = {"linux": {"namespaces": [{"type": "network", "path": netns.path_of(WEB)}]}}
    os.makedirs(os.path.dirname(store.paths("db").config))
    pathlib.Path(store.paths("db").config).write_text(json.dumps(config), encoding="utf-8")
    store.save(builders.record(name="db", phase=Phase.CHECKPOINTED, init=None, monitor=None))
    subprocess.run(["ip", "netns", "exec", WEB, "iptables-restore", "-n"], input=lock, text=True, check=True)
    assert host.describe(WEB).outcome.plan.actions == ()
    assert host.converge(WEB, POOL, **wanted).plan.actions == ()


@pytest.mark.parametrize("lost", ["flush ruleset", "delete table inet longshore", "flush table inet longshore", "file"])
def test_the_rules_come_back_from_their_file(host: Host, lost: str) -> None:
    """As a unit of the host loads them after a reload of its firewall."""
    before = host.is_like()
    host.does("ip", "link", "add", "br0", "type", "bridge")  # for the second table
    foreign = Interface("eth1", "br0", address=("10.79.1.2/24",))
    host.converge(WEB, POOL, foreign, publish=("8080:80",))
    kept, like = str(host.run_dir / "networks.nft"), host.is_like()
    table = names.table(os.path.realpath(host.run_dir.parent / "state"))
    if lost == "file":
        os.unlink(kept)
    else:
        host.does("nft", lost.replace("longshore", table))
    assert [action.value for action in host.describe(WEB).outcome.plan.actions] == ["rules"]
    if lost == "file":
        assert host.converge(WEB, POOL, foreign, publish=("8080:80",)).plan.actions == ("rules",)
    else:
        host.does("nft", "-f", kept)
    assert host.is_like() == like
    assert host.describe(WEB).outcome.plan.actions == ()
    with serving(WEB):
        assert asked(host.name, "tcp", "192.0.2.7", 8080) == "192.0.2.7"
    host.does("nft", "-f", kept)  # once more, with the rules there
    assert host.converge(WEB, POOL, foreign, publish=("8080:80",)).plan.actions == ()
    host.converge(WEB, absent=True)
    host.does("ip", "link", "delete", "br0")
    assert host.is_like() == before


def _renamed(host: Host, old: str, new: str) -> None:
    host.does("sh", "-c", f"ip link set {old} down; ip link set {old} name {new}; ip link set {new} up")


@pytest.mark.parametrize("publish", [(), ("8080:80",)])
@pytest.mark.parametrize("interface", [POOL, Interface(bridge="lsu-br1", subnet=("10.79.1.0/24",))])
def test_a_renamed_bridge_of_ours(host: Host, interface: Interface, publish: tuple[str, ...]) -> None:
    before = host.is_like()
    for name in (WEB, OTHER):
        host.converge(name, interface, publish=publish if name == WEB else ())
    _renamed(host, interface.bridge, "lsu-renamed")
    like = host.is_like()
    for check in (True, False):
        with pytest.raises(
            Conflict, match=f"The bridge {interface.bridge} of Longshore has been renamed to lsu-renamed"
        ) as caught:
            host.converge(WEB, interface, publish=publish, check=check)
    assert f"ip link set lsu-renamed name {interface.bridge}" in caught.value.hint
    assert "has been renamed to lsu-renamed" in host.describe(WEB).conflict
    assert host.is_like() == like
    # With the next removal as with any other: the last network takes it along.
    host.converge(OTHER, absent=True)
    assert "lsu-renamed" in host.is_like()["links"]
    host.does("sh", "-c", caught.value.hint.partition(": ")[2])
    host.converge(WEB, interface, publish=publish)
    assert host.converge(WEB, interface, publish=publish).plan.actions == ()
    _renamed(host, interface.bridge, "lsu-renamed")
    host.converge(WEB, absent=True)
    assert host.is_like() == before


def test_a_renamed_end_of_an_interface(host: Host) -> None:
    before = host.is_like()
    made = host.converge(WEB, POOL, publish=("8080:80",))
    _renamed(host, made.ends["eth0"], "lsu-renamed")
    host.does("ip", "link", "set", "lsu-renamed", "alias", "else")
    assert host.describe(WEB).conflict == ""
    host.converge(WEB, POOL, publish=("8080:80",))
    assert host.converge(WEB, POOL, publish=("8080:80",)).plan.actions == ()
    with serving(WEB):
        assert asked(host.name, "tcp", "192.0.2.7", 8080) == "192.0.2.7"
    host.converge(WEB, POOL._replace(mtu=1400), publish=("8080:80",))
    assert host.of(WEB)["links"]["eth0"][0] == 1400
    host.converge(WEB, absent=True)
    assert host.is_like() == before
