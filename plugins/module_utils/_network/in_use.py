# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find programs that use ports that are to be published, and processes in a namespace that is to be removed."""

from __future__ import annotations

import os
import typing as t

from .._base.errors import Conflict, InvalidOption
from .._base.files import read_text
from .._netlink import netns
from .._ports import joined_network, packet_lock
from .._ports.address import PublishedPort
from .._ports.host_ports import Address, active_definition, addresses_of, check_socket
from .._state.model import Definition
from .._state.store import Store

_MOST_NAMED = 5


class User(t.NamedTuple):
    """A process in a network namespace. ``container``: its container, if it is the first process of one."""

    pid: int
    command: str
    container: str | None


def check_ports(entries: t.Sequence[PublishedPort], gateways: t.Collection[str], store: Store) -> list[str]:
    """``entries``: what is to be published from now on; ``gateways``: addresses that the host is to have for it.

    Raises Conflict for a port that a program of this host listens on, because clients could not reach it any more. Ports that
    a container reserves (reserve_ports) may be published. Return warnings.
    """
    reserved, warnings = _reserved(store), []
    for entry in entries:
        for port in range(entry.port, entry.last + 1):
            address = Address(entry.protocol, entry.ip, port)
            if any(each.overlaps(address) for each in reserved.get((address.kind, port), ())):
                continue
            try:
                check_socket(address, listening=True, others=lambda: _holding(store))
            except Conflict as exc:
                raise Conflict(f"{entry} cannot be published: {exc.message}", hint=exc.hint) from exc
            except InvalidOption:
                if entry.ip in gateways:
                    break
                # It may get it later, as addresses do that move from host to host.
                warnings.append(f"{entry.ip}, where {entry} is published, is no address of this host now.")
                break
    return warnings


def _holding(store: Store) -> t.Iterator[tuple[str, Definition]]:
    """Yield the containers whose ports conmon has now."""
    for record in filter(None, map(store.load, store.names())):
        definition = active_definition(record)
        if definition is not None:
            yield record.name, definition


def _reserved(store: Store) -> dict[tuple[str, int], list[Address]]:
    """Return the ports that containers reserve now, by protocol and port."""
    found: dict[tuple[str, int], list[Address]] = {}
    for _name, definition in _holding(store):
        for each in addresses_of(definition)[1]:
            found.setdefault((each.kind, each.port), []).append(each)
    return found


def users(name: str, store: Store, descriptor: int | None = None) -> list[User]:
    return described(netns.users(netns.path_of(name) if descriptor is None else descriptor), store)


def described(pids: t.Sequence[int], store: Store) -> list[User]:
    """Return processes with their names and containers."""
    if not pids:
        return []
    records = [joined_network.load(store, name) for name in store.names()]
    containers = {record.init.pid: record.name for record in records if record and record.init}
    return [User(pid, (read_text(f"/proc/{pid}/comm") or "").strip(), containers.get(pid)) for pid in pids]


def checkpointed(name: str, store: Store) -> list[str]:
    """Return the checkpointed containers that were in the namespace. Their restore removes the rules of CRIU there."""
    descriptor = os.open(netns.path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return packet_lock.holders(store, descriptor)
    finally:
        os.close(descriptor)


def check_unused(name: str, store: Store, descriptor: int | None = None) -> None:
    """Raises Conflict if processes are in the namespace, because they would lose their network. ``descriptor``: of a hidden
    namespace."""
    found = netns.users(netns.path_of(name) if descriptor is None else descriptor)
    if found:
        raise in_use(name, found, store)


def in_use(name: str, pids: t.Sequence[int], store: Store) -> Conflict:
    return Conflict(f"The network {name} is in use by {named(pids, store)}.", hint="Stop it first.")


def named(pids: t.Sequence[int], store: Store) -> str:
    """Return words for processes: the containers first, and not all if there are many."""
    found = sorted(described(pids, store), key=lambda user: user.container is None)
    words = [
        f"the container {user.container}" if user.container else f"{user.command or 'a process'} (process {user.pid})"
        for user in found[:_MOST_NAMED]
    ]
    return ", ".join([*words, *([f"{len(found) - _MOST_NAMED} more"] if len(found) > _MOST_NAMED else [])])
