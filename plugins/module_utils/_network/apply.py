# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out the operations of a plan. Nothing is decided here."""

from __future__ import annotations

import contextlib
import typing as t

from .._base.deadline import Deadline
from .._base.errors import LongshoreError
from .._netlink import netns
from .._netlink.links import Link, Links
from .._network_spec import operations as to
from .._ports import packet_lock
from .._state.store import Store
from . import firewall, foreign_rules, forwarding, forwarding_changes, in_use
from .records import Records


class Applier:
    """For the networks of one pair of directories, under their lock. ``table``: that of nftables."""

    def __init__(self, records: Records, store: Store, table: str, deadline: Deadline) -> None:
        self._records, self._store, self._table, self._deadline = records, store, table, deadline

    def carry_out(self, operations: t.Iterable[to.Operation]) -> None:
        """Raises LongshoreError, and OSError for what the kernel refuses."""
        with Links() as host:
            for operation in operations:
                if isinstance(operation, (to.CreateBridge, to.CreateVethPair, to.RenameLink, to.RemoveLink)):
                    _change_links(host, operation)
                elif isinstance(operation, to.ConfigureLink):
                    _configure(host, operation)
                elif isinstance(operation, to.ChangeRoutes):
                    _change_routes(operation)
                elif isinstance(operation, (to.SetSysctls, to.LoadRules, to.RestoreSysctls)):
                    self._open(operation)
                else:
                    self._keep(operation)

    def _keep(
        self,
        operation: to.SaveRecord
        | to.CreateNamespace
        | to.AttachNamespace
        | to.Unlock
        | to.CheckUnused
        | to.RemoveNamespace
        | to.Forget,
    ) -> None:
        """Work on the record and the namespace."""
        if isinstance(operation, to.SaveRecord):
            self._records.save(*operation)
        elif isinstance(operation, to.CreateNamespace):
            # Known as ours at every moment.
            self._note_namespace(operation.network, 0)
            netns.create(operation.network)
            self._note_namespace(operation.network, netns.inode(operation.network))
        elif isinstance(operation, to.AttachNamespace):
            from . import detached

            detached.attach(operation.network, operation.namespace)
        elif isinstance(operation, to.Unlock):
            packet_lock.remove(netns.path_of(operation.network), self._deadline)
        elif isinstance(operation, to.CheckUnused):
            # A launch takes no lock of networks: one may have come since the look.
            with netns.hidden(operation.network) as descriptor:
                in_use.check_unused(operation.network, self._store, descriptor)
        elif isinstance(operation, to.RemoveNamespace):
            netns.remove(operation.network)
        else:
            self._note_namespace(operation.network, None)
            self._records.forget(operation.network)

    def _note_namespace(self, name: str, inode: int | None) -> None:
        """Write down which namespace of this name we made; None for none."""
        changed = self._records.changed()
        others = {other: number for other, number in changed.namespaces.items() if other != name}
        namespaces = others if inode is None else {**others, name: inode}
        self._records.save_changed(changed._replace(namespaces=namespaces))

    def _open(self, operation: to.SetSysctls | to.LoadRules | to.RestoreSysctls) -> None:
        """Open and close the way for packets."""
        changed = self._records.changed()
        if isinstance(operation, to.SetSysctls):
            ways, sysctls = forwarding_changes.to_change(operation.values), dict(changed.sysctls)
            for path, (before, value) in ways.items():
                sysctls[path] = (sysctls[path][0] if path in sysctls else before, value)
            self._records.save_changed(changed._replace(sysctls=sysctls))
            forwarding.write_all({path: value for path, (_before, value) in ways.items() if value})
        elif isinstance(operation, to.LoadRules):
            firewall.load(
                self._table, operation.text, self._records.rules_file, self._records.kept_rules, self._deadline
            )
            rules = firewall.text_digest(operation.text), firewall.digest(self._table)
            self._records.save_changed(changed._replace(rules=rules))
            if operation.udp:
                from .._netlink import conntrack

                conntrack.forget_udp({port for each in operation.udp for port in range(each.port, each.last + 1)})
        else:
            others = foreign_rules.forward(self._table)
            forwarding.write_all(forwarding_changes.to_restore(changed.sysctls, operation.needed, others))
            kept = {path: pair for path, pair in changed.sysctls.items() if forwarding.is_kept(path, operation.needed)}
            self._records.save_changed(changed._replace(sysctls=kept))


def _change_links(host: Links, operation: to.CreateBridge | to.CreateVethPair | to.RenameLink | to.RemoveLink) -> None:
    if isinstance(operation, to.CreateBridge):
        host.create_bridge(operation.name, operation.mac)
    elif isinstance(operation, to.RenameLink):
        host.change(operation.link, state="down")  # Kernels before 6.2 rename no link that is up.
        host.change(operation.link, ifname=operation.name)
    elif isinstance(operation, to.RemoveLink):
        host.remove(operation.link)
    else:
        network, name, mac, peer, peer_mac, mtu = operation
        with open(netns.path_of(network), "rb") as namespace:
            there = {"ifname": peer, "address": peer_mac, "net_ns_fd": namespace.fileno()}
            host.create_veth_pair(name, mac, mtu, there)


def _configure(host: Links, operation: to.ConfigureLink) -> None:
    def inside() -> None:
        with Links() as links:
            _configure_in(links, operation)

    if operation.network:
        netns.inside(operation.network, inside)
    else:
        _configure_in(host, operation)


def _configure_in(links: Links, operation: to.ConfigureLink) -> None:
    found = links.all()
    link = _link(found, operation.name)
    if operation.announce:
        # For the better only: a host may have no IPv6, and may not set it.
        with contextlib.suppress(LongshoreError):
            forwarding.write(f"net/ipv4/conf/{link.name}/arp_notify", "1")
        with contextlib.suppress(LongshoreError):
            forwarding.write(f"net/ipv6/conf/{link.name}/ndisc_notify", "1")
    given = {"ifalias": operation.alias, "address": operation.mac, "mtu": operation.mtu}
    for key, value in given.items():
        if value:
            links.change(link, **{key: value})
    _close(links, link, operation.sysctls)
    if operation.bridge:
        links.change(link, master=_link(found, operation.bridge).ifindex)
        links.set_hairpin(link)
    for address in operation.drop:
        links.drop_address(link, address)
    for address in operation.add:
        links.add_address(link, address)
    links.change(link, state="up")


def _link(found: t.Mapping[str, Link], name: str) -> Link:
    if name not in found:
        raise LongshoreError(f"The interface {name} has gone.", hint="Run the task again.")
    return found[name]


def _close(links: Links, link: Link, values: t.Mapping[str, str]) -> None:
    """Set the sysctls of a link of ours, before it is up. Raises LongshoreError: a link that is open is not left alone."""
    changed = {
        path: value for path, (before, value) in forwarding.differing(values).items() if before is not None
    }  # fmt: skip
    # The last one shows the next task that nothing is left to do.
    last = {path: value for path, value in changed.items() if path.endswith("/autoconf")}
    forwarding.write_all({path: value for path, value in changed.items() if path not in last})
    if any(path.endswith("/accept_ra") for path in changed) or last:
        links.forget_router(link)
    forwarding.write_all(last)


def _change_routes(operation: to.ChangeRoutes) -> None:
    def change() -> None:
        with Links() as links:
            found = links.all()
            for route in operation.add:
                links.add_route(route, _link(found, route.interface))
            for route in operation.drop:
                links.drop_route(route)

    netns.inside(operation.network, change)
