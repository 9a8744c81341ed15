# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe a network and the host. Start no process and change nothing."""

from __future__ import annotations

import os
import typing as t

from .._base.errors import Conflict
from .._base.files import read_text
from .._netlink import netns
from .._netlink.links import Link, Links, Route
from .._network_spec import names, sysctls
from .._network_spec.differences import Detached, Observed, is_connected
from .._network_spec.parse import Request, Surroundings
from .._network_spec.record import NetworkRecord
from . import firewall, forwarding

if t.TYPE_CHECKING:
    from .._state.store import Store

    Stored = t.Callable[[], Store]  # Most tasks need none.


def look(request: Request, old: NetworkRecord | None, created: int | None, state_dir: str, store: Stored) -> Observed:
    """All but sysctls and rules, which depend on what is wanted. ``created``: the inode of the namespace that we made since the boot, 0
    where that did not come to its end. Raises Conflict for a namespace that is not ours.
    """
    with Links() as links:
        host = links.all()
    ours = [
        link.name
        for link in host.values()
        if link.kind == "bridge" and link.mac == names.bridge_mac(state_dir, link.name)
    ]
    bridges = {each.bridge for each in request.interfaces} | {each.bridge for each in (old.interfaces if old else ())}
    renamed = _renamed(state_dir, bridges, host)
    ours += renamed.values()
    inode, ends = netns.inode(request.name), _ends(request, old, state_dir, host)
    proper = {name: names.host_interface(state_dir, request.name, name) for name in ends}
    misnamed = {name: proper[name] for name, link in ends.items() if link.name != proper[name]}
    # Of the same name there may be another by now. Where it is not known what we made, by what is in it.
    namespace = inode is not None and (created in (0, inode) if created is not None else bool(ends))
    lost = None
    if created and inode != created:
        from . import detached

        lost = detached.find(request.name, created, lambda: ends, store())
    foreign = inode is not None and not namespace
    if foreign and not (old and request.absent):
        raise _foreign(request.name, lost, store)
    names_inside = {"lo", *ends}
    seen: tuple[dict[str, Link], list[Route], bool] = ({}, [], False)
    if namespace:
        seen = netns.inside(request.name, lambda: _inside(names_inside))
    elif lost and not foreign:
        namespace, seen = True, detached.inside(lost, lambda: _inside(names_inside))
    inside, routes, locked = seen
    host.update((name, _with_settings(host[name])) for name in ours)
    ends = {name: _with_settings(end) for name, end in ends.items()}
    return Observed(
        namespace, host, ours, ends, inside, routes, locked=locked, foreign=foreign, detached=lost
    )._replace(renamed=renamed, misnamed=misnamed)


def _renamed(state_dir: str, bridges: t.Collection[str], host: t.Mapping[str, Link]) -> dict[str, str]:
    """Return the present names of bridges of ours that another program has renamed, by the names that we gave them."""
    macs = {names.bridge_mac(state_dir, name): name for name in bridges if name not in host}
    return {macs[link.mac]: link.name for link in host.values() if link.kind == "bridge" and link.mac in macs}


def refuse_bridges(old: NetworkRecord, wanted: t.Collection[str], seen: Observed) -> None:
    """Raises Conflict for a bridge of ours that another program has renamed or replaced: another one would have its addresses, or the
    network no gateway. ``wanted``: the names of the bridges that the network needs from now on."""
    for name, now in seen.renamed.items():
        hint = f"Rename it back: ip link set {now} down; ip link set {now} name {name}; ip link set {name} up"
        raise Conflict(f"The bridge {name} of Longshore has been renamed to {now}.", hint=hint)
    for name in {each.bridge for each in old.interfaces if not each.foreign} & {*wanted} & {*seen.foreign_bridges}:
        hint = f"Remove it: ip link delete {name}. This task then creates its own. To use it as it is, remove this network first."
        what = f"The bridge {name} is not the one that Longshore has created, or has another hardware address."
        raise Conflict(what, hint=hint)


def refuse_foreign(name: str, seen: Observed, store: Stored) -> None:
    if seen.foreign:
        raise _foreign(name, seen.detached, store)


def _foreign(name: str, lost: Detached | None, store: Stored) -> Conflict:
    what = f"The network namespace {name} already exists, and Longshore has not created it."
    if lost is None:
        return Conflict(what, hint=f"Choose another name, or remove it: ip netns delete {name}")
    from . import in_use

    hint = f"Remove it: ip netns delete {name}. This task then gives the former one its name again."
    is_are = "is" if len(lost.pids) == 1 else "are"
    return Conflict(f"{what[:-1]}; {in_use.named(lost.pids, store())} {is_are} still in the former one.", hint=hint)


def _inside(ours: t.Collection[str]) -> tuple[dict[str, Link], list[Route], bool]:
    with Links() as links:
        found, routes = links.all(lasting=True), links.routes()
    found = {name: _with_settings(link) if name in ours else link for name, link in found.items()}
    return found, routes, firewall.has_packet_lock()


def _with_settings(link: Link) -> Link:
    return link._replace(settings=forwarding.read(sysctls.closed(link.name, False)))


def _ends(request: Request, old: NetworkRecord | None, state_dir: str, host: t.Mapping[str, Link]) -> dict[str, Link]:
    """By names of interfaces that are known, and by alias for what no record tells of any more. One that another program has renamed, by
    its hardware address."""
    known = {each.name for each in request.interfaces} | {each.name for each in (old.interfaces if old else ())}
    found = {name: host.get(names.host_interface(state_dir, request.name, name)) for name in known}
    macs = {names.host_mac(state_dir, request.name, name): name for name in known}
    for link in host.values():
        name = names.is_of(state_dir, request.name, link.name, link.alias)
        if name:
            found[name] = link
        elif link.kind == "veth" and link.mac in macs:
            found[macs[link.mac]] = found[macs[link.mac]] or link
    return {name: link for name, link in found.items() if link}


def surroundings(seen: Observed, others: t.Mapping[str, NetworkRecord]) -> Surroundings:
    links = {
        link.name: link.addresses for link in seen.host.values()
        if link.name not in seen.our_bridges and link.name != "lo"
    }  # fmt: skip
    return Surroundings(
        others, links, seen.foreign_bridges, (read_text("/etc/machine-id") or os.uname().nodename).strip()
    )


def refuse_strangers(wanted: NetworkRecord, seen: Observed) -> None:
    """An interface in the namespace that has the name of one of ours, and is not. Raises Conflict."""
    for interface in wanted.interfaces:
        name = interface.name
        if name in seen.inside and not is_connected(seen.inside[name], seen.ends.get(name)):
            what = f"The namespace {wanted.name} has an interface {name} that Longshore has not created."
            raise Conflict(what, hint=f"Remove it (ip -n {wanted.name} link delete {name}), or take another name.")
