# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of the records of networks. record_format.py writes and reads them as JSON."""

from __future__ import annotations

import typing as t

from .._netlink.links import Route
from .._ports.address import PublishedPort


class InterfaceRecord(t.NamedTuple):
    """An interface in the namespace. ``foreign``: whether its bridge is not one of Longshore's. ``addresses`` have the length of their
    network. ``host_gateways``: those gateways that are addresses of this host."""

    name: str
    bridge: str
    foreign: bool
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    host_gateways: tuple[str, ...]
    mac: str
    mtu: int


class NetworkRecord(t.NamedTuple):
    """A network. ``isolate`` and ``routed`` are None in records of older releases. ``removing``: a task has begun to remove it."""

    name: str
    interfaces: tuple[InterfaceRecord, ...] = ()
    routes: tuple[Route, ...] = ()
    publish: tuple[PublishedPort, ...] = ()
    masquerade: bool = True
    isolate: bool | None = None
    routed: bool | None = None
    removing: bool = False

    @property
    def isolated(self) -> bool:
        return self.isolate is not False
