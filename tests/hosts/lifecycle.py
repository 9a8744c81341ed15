# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The commands: hosts up, down, and off and on again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sys
import typing as t
import uuid

from . import access, cgroup, inventory, network, private
from . import host as machine
from .aptsources import install_missing
from .deadline import Deadline
from .filelock import locked
from .fleet import Fleet, Host
from .kinds import Kind
from .recipe import USER
from .tree import mark_used, tree_for

# Generous: a boot takes a second or two, but a busy machine with two cores may have many at once.
_BOOT_SECONDS = 180
# The holder of the lock may be making a tree.
_LOCK_SECONDS = 3600


@contextlib.contextmanager
def _alone(fleet: Fleet) -> t.Iterator[None]:
    private.make(fleet.directory)
    with locked(fleet.path("lock"), deadline=Deadline.after(_LOCK_SECONDS), what="these hosts"):
        yield


def up(fleet: Fleet, wanted: t.Mapping[str, Kind], *, mirror: str | None) -> list[Host]:
    """Make and boot the hosts that are not up yet; returns all that were wanted."""
    with _alone(fleet):
        install_missing()
        trees = {kind.name: tree_for(kind, mirror=mirror) for kind in wanted.values()}
        _ensure_network(fleet)
        access.make_key(fleet)
        missing = [name for name in wanted if not _is_up(fleet, name)]
        for name in missing:
            machine.remove(fleet, name)  # what an earlier run left of it
            machine.make(fleet, _new_host(fleet, name, wanted[name], trees[wanted[name].name]))
        _describe(fleet)
        _boot_all(fleet, missing)
        return [fleet.running(name) for name in wanted]


def down(fleet: Fleet, names: t.Sequence[str]) -> None:
    """Take down these hosts, or with no name all of them and the fleet's network."""
    if not os.path.isdir(fleet.directory) and not _left_over(fleet):
        return
    with _alone(fleet):
        if names:
            for name in names:
                machine.remove(fleet, name)
            _describe(fleet)
            return
        access.close_connections(fleet)
        _clear(fleet)
        for entry in os.scandir(fleet.directory):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            elif entry.name != "lock":  # another process may wait for it, so it has to stay the same file
                os.unlink(entry.path)


def reboot(fleet: Fleet, names: t.Sequence[str], *, cut_power: bool) -> list[Host]:
    """Off, if they are on, and on again. Only the disks stay, as with any machine."""
    with _alone(fleet):
        hosts = [fleet.known(name) for name in names]
        _ensure_network(fleet)
        for host in hosts:
            if cut_power or host.state == "off":
                machine.cut_power(fleet, host.name)
            else:
                machine.power_off(fleet, host)
        _boot_all(fleet, names)
        return [fleet.running(name) for name in names]


def _is_up(fleet: Fleet, name: str) -> bool:
    """One that is booting does not count: we hold the lock, so the process that booted it has died."""
    host = fleet.load(name)
    return host is not None and host.state == "up"


def _ensure_network(fleet: Fleet) -> None:
    """The fleet's network is there for the first host; with none running, an old one is not trusted."""
    hosts = fleet.hosts()
    if any(host.state != "off" for host in hosts):
        return
    for host in hosts:
        machine.cut_power(fleet, host.name)  # systemd-nspawn may have been killed, and the rest lives on
    recorded = {fleet.name_of(host.name) for host in hosts}
    for name in _unrecorded(fleet, recorded):
        machine.remove(fleet, name)
    network.make_fleet(fleet)


def _new_host(fleet: Fleet, name: str, kind: Kind, tree: str) -> Host:
    return Host(name=name, kind=kind.name, tree=tree, number=fleet.free_number(), machine_id=uuid.uuid4().hex)


def _boot_all(fleet: Fleet, names: t.Iterable[str]) -> None:
    """All at once, and if one of them fails, that one stays as it is to be looked at."""
    started = []
    for host in filter(None, map(fleet.load, names)):
        mark_used(host.tree)
        started.append(machine.boot(fleet, host))
    deadline = Deadline.after(_BOOT_SECONDS)
    for boot in started:
        machine.wait_until_ready(boot, deadline=deadline)
        # Both users can log in, and the services of the one with a session have settled as well.
        access.output_of(fleet, boot.host, "true")
        access.output_of(fleet, boot.host, "systemctl", "--user", "start", "default.target", user=USER)
        fleet.save(dataclasses.replace(boot.host, ready=True))
        print(f"{boot.host.name} is up", file=sys.stderr)


def _describe(fleet: Fleet) -> None:
    access.write_config(fleet)
    inventory.write(fleet)


def _left_over(fleet: Fleet) -> list[str]:
    """Names of this fleet that the kernel still knows: a crashed run may have left any of them."""
    return sorted({*network.named_like(fleet.prefix), *cgroup.named_like(fleet.prefix)})


def _clear(fleet: Fleet) -> None:
    """All hosts, recorded or not, and the network."""
    for name in sorted({*fleet.host_names(), *_unrecorded(fleet, set())}):
        machine.remove(fleet, name)
    network.remove(fleet.netns)


def _unrecorded(fleet: Fleet, recorded: set[str]) -> list[str]:
    """Hosts that only the kernel still knows of."""
    return [name[len(fleet.prefix) + 1 :] for name in _left_over(fleet) if name not in {fleet.netns, *recorded}]


__all__ = ("down", "reboot", "up")
