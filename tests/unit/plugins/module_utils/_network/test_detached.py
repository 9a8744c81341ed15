# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A namespace that has lost its name, and in which somebody still is."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import Interface
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders
from ansible_collections.longshore.oci.tests.unit.network_host import (
    OTHER,
    POOL,
    PREFIX,
    WEB,
    Host,
    asked,
    host,
    serving,
)

__all__ = ["host"]  # the fixture

PUBLISH = ("8080:80",)


def _unmounted(name: str) -> None:
    subprocess.run(["umount", "-l", netns.path_of(name)], check=True)


def _moved(name: str) -> None:
    _unmounted(name)
    os.rename(netns.path_of(name), netns.path_of(f"{PREFIX}-moved"))


LOSSES = {
    "deleted": lambda name: subprocess.run(["ip", "netns", "delete", name], check=True),
    "unmounted": _unmounted,
    "moved": _moved,
}


@contextlib.contextmanager
def _sleeping(name: str) -> t.Iterator[int]:
    """Somebody in a namespace, and nothing else."""
    with subprocess.Popen(["ip", "netns", "exec", name, "sleep", "60"]) as process:
        try:
            while process.pid not in netns.users(netns.path_of(name)):
                os.sched_yield()
            yield process.pid
        finally:
            process.kill()


def _container(host: Host, name: str, pid: int, path: str) -> None:
    """Save a container whose first process is this one."""
    store = Store(state_dir=str(host.run_dir.parent / "state"), run_dir=str(host.run_dir))
    config = pathlib.Path(store.paths(name).config)
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"linux": {"namespaces": [{"type": "network", "path": path}]}}), encoding="utf-8")
    store.save(builders.record(name=name, phase=Phase.RUNNING, init=identify(pid)))


@pytest.mark.parametrize("loss", LOSSES)
def test_it_gets_its_name_again(host: Host, loss: str) -> None:
    before = host.is_like()
    host.converge(WEB, POOL, publish=PUBLISH)
    made, inode = host.of(WEB), netns.inode(WEB)
    with serving(WEB) as pid:
        LOSSES[loss](WEB)
        like, known = host.is_like(), host.describe(WEB)
        assert [action.value for action in known.outcome.plan.actions] == ["namespace"]
        assert ([user.pid for user in known.users], known.conflict) == ([pid], "")
        assert host.converge(WEB, POOL, publish=PUBLISH, check=True).plan.actions == known.outcome.plan.actions
        for check in (True, False):
            with pytest.raises(Conflict, match=rf"{WEB} is in use by \S+ \(process {pid}\)"):
                host.converge(WEB, absent=True, check=check)
        assert host.is_like() == like
        assert asked(host.name, "tcp", "192.0.2.7", 8080) == "192.0.2.7"
        assert host.converge(WEB, POOL, publish=PUBLISH).plan.actions == known.outcome.plan.actions
        assert (netns.inode(WEB), host.of(WEB)) == (inode, made)
        assert host.converge(WEB, POOL, publish=PUBLISH).plan.actions == ()
        assert asked(host.name, "tcp", "192.0.2.7", 8080) == "192.0.2.7"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(netns.path_of(f"{PREFIX}-moved"))
    host.converge(WEB, absent=True)
    assert host.is_like() == before


def test_a_change_comes_along(host: Host) -> None:
    host.converge(WEB, POOL, publish=PUBLISH)
    with serving(WEB):
        LOSSES["deleted"](WEB)
        host.does("ip", "link", "delete", "longshore0")
        changed = host.converge(WEB, POOL, Interface("eth1", "lsu-br1", subnet=("10.79.1.0/24",)), publish=("8081:80",))
        assert [action.value for action in changed.plan.actions] == [
            "record", "bridge", "namespace", "interface", "forwarding", "rules",
        ]  # fmt: skip
        assert asked(host.name, "tcp", "192.0.2.7", 8081) == "192.0.2.7"


def test_nobody_is_in_it_any_more(host: Host) -> None:
    host.converge(WEB, POOL, publish=PUBLISH)
    LOSSES["deleted"](WEB)
    assert "interface" in [action.value for action in host.converge(WEB, POOL, publish=PUBLISH).plan.actions]
    assert host.converge(WEB, POOL, publish=PUBLISH).plan.actions == ()
    LOSSES["deleted"](WEB)
    assert host.converge(WEB, absent=True).plan.actions == ("remove",)


def test_another_one_has_its_name(host: Host) -> None:
    host.converge(WEB, POOL, publish=PUBLISH)
    inode = netns.inode(WEB)
    with serving(WEB) as pid:
        _container(host, "shop", pid, netns.path_of(WEB))
        LOSSES["deleted"](WEB)
        subprocess.run(["ip", "netns", "add", WEB], check=True)
        like, known = host.is_like(), host.describe(WEB)
        assert [(user.pid, user.container) for user in known.users] == [(pid, "shop")]
        assert "Longshore has not created it" in known.conflict
        assert "the container shop is still in the former one" in known.conflict
        with pytest.raises(Conflict, match="the container shop is still in the former one") as caught:
            host.converge(WEB, POOL, publish=PUBLISH)
        assert (
            caught.value.hint
            == f"Remove it: ip netns delete {WEB}. This task then gives the former one its name again."
        )
        with pytest.raises(Conflict, match=f"{WEB} is in use by the container shop"):
            host.converge(WEB, absent=True)
        assert host.is_like() == like
        subprocess.run(["ip", "netns", "delete", WEB], check=True)
        host.converge(WEB, POOL, publish=PUBLISH)
        assert netns.inode(WEB) == inode
    LOSSES["deleted"](WEB)
    subprocess.run(["ip", "netns", "add", WEB], check=True)
    with pytest.raises(Conflict, match="Longshore has not created it") as caught:
        host.converge(WEB, POOL, publish=PUBLISH)
    assert "Choose another name" in caught.value.hint
    host.converge(WEB, absent=True)
    assert netns.exists(WEB)


def test_the_task_of_another_network_leaves_its_ports(host: Host) -> None:
    host.converge(WEB, POOL, publish=PUBLISH)
    with serving(WEB):
        LOSSES["deleted"](WEB)
        host.converge(OTHER, Interface(bridge="lsu-br1", subnet=("10.79.1.0/24",)), publish=("8081:80",))
        assert asked(host.name, "tcp", "192.0.2.7", 8080) == "192.0.2.7"
        with pytest.raises(Conflict, match="8080"):
            host.converge(OTHER, Interface(bridge="lsu-br1", subnet=("10.79.1.0/24",)), publish=PUBLISH)
        host.converge(OTHER, absent=True)
        assert asked(host.name, "tcp", "192.0.2.7", 8080) == "192.0.2.7"


@pytest.mark.parametrize("interfaces", [(), (POOL,)])
def test_the_inode_of_an_ended_one_may_be_anothers(host: Host, interfaces: tuple[Interface, ...]) -> None:
    """The kernel gives it to the next namespace of whatever kind."""
    host.converge(WEB, *interfaces)
    LOSSES["deleted"](WEB)
    stranger = f"{PREFIX}-stranger"
    netns.create(stranger)
    changed = json.loads((host.run_dir / "network.json").read_text(encoding="utf-8"))
    changed["namespaces"][WEB] = netns.inode(stranger)
    (host.run_dir / "network.json").write_text(json.dumps(changed), encoding="utf-8")
    with _sleeping(stranger) as pid:
        assert host.describe(WEB).users == []
        host.converge(WEB, *interfaces)
        assert netns.inode(WEB) != netns.inode(stranger)
        assert netns.users(netns.path_of(stranger)) == [pid]


@pytest.mark.parametrize("top", ["/run/netns", "/var/run/netns", "/run/../run/netns/"])
def test_without_an_interface_a_container_shows_whose_it_is(host: Host, top: str) -> None:
    host.converge(WEB)
    inode = netns.inode(WEB)
    with _sleeping(WEB) as pid:
        _container(host, "shop", pid, f"{top}/{WEB}")
        LOSSES["deleted"](WEB)
        with pytest.raises(Conflict, match=f"{WEB} is in use by the container shop"):
            host.converge(WEB, absent=True)
        assert [action.value for action in host.converge(WEB).plan.actions] == ["namespace"]
        assert netns.inode(WEB) == inode
