# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""A network of its own for a fleet: one namespace with a bridge, and a namespace for each host.

The addresses exist only inside these namespaces; the machine's own network does not change.
"""

from __future__ import annotations

import os

from .command import run
from .fleet import Fleet, Host

_DIRECTORY = "/run/netns"
_GATEWAY = "10.77.0.1"


def path_of(netns: str) -> str:
    return os.path.join(_DIRECTORY, netns)


def named_like(prefix: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(_DIRECTORY) if name.startswith(prefix))
    except FileNotFoundError:
        return []


def make_fleet(fleet: Fleet) -> None:
    """Only without any host: a namespace found here was left by an earlier run, perhaps half made."""
    remove(fleet.netns)
    run(["ip", "netns", "add", fleet.netns])
    _in(fleet.netns, "link", "set", "lo", "up")
    _in(fleet.netns, "link", "add", "br0", "type", "bridge")
    _in(fleet.netns, "address", "add", f"{_GATEWAY}/24", "dev", "br0")
    _in(fleet.netns, "link", "set", "br0", "up")


def plug(fleet: Fleet, host: Host) -> None:
    """A fresh namespace for the host, as after any power-on, with a cable to the bridge."""
    netns, port = fleet.name_of(host.name), f"port{host.number}"
    unplug(fleet, host)
    run(["ip", "netns", "add", netns])
    # Its hardware address stays the same, or the others would send to the one before for a while.
    peer = ["peer", "name", "host0", "address", f"02:4c:53:00:00:{host.number:02x}", "netns", netns]
    _in(fleet.netns, "link", "add", port, "type", "veth", *peer)
    _in(fleet.netns, "link", "set", port, "master", "br0", "up")
    _in(netns, "link", "set", "lo", "up")
    _in(netns, "address", "add", f"{host.address}/24", "dev", "host0")
    _in(netns, "link", "set", "host0", "up")
    # Leads nowhere, but a host without one is rare, and pasta refuses to start there.
    _in(netns, "route", "add", "default", "via", _GATEWAY)


def unplug(fleet: Fleet, host: Host) -> None:
    # The kernel takes down a namespace some time after its last use, and until then the other end
    # of the cable would block the port's name: so the cable goes first.
    if os.path.exists(path_of(fleet.netns)):
        run(["ip", "-netns", fleet.netns, "link", "delete", f"port{host.number}"], check=False)
    remove(fleet.name_of(host.name))


def remove(netns: str) -> None:
    if os.path.exists(path_of(netns)):
        run(["ip", "netns", "delete", netns])


def _in(netns: str, *words: str) -> None:
    run(["ip", "-netns", netns, *words])


__all__ = ("make_fleet", "named_like", "path_of", "plug", "remove", "unplug")
