# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring links, addresses and routes from any state to the wanted one.

If the kernel supports it, a change is one step. A link that needs several steps is up only after the last of them, so that the
next run detects an incomplete change.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.errors import EngineError
from .._netlink import netns
from .._netlink.links import Link, Links
from .._network_spec import names, sysctls
from .._network_spec.plan import (
    Observed,
    Pair,
    bridge_addresses,
    bridges_of,
    changed_routes,
    has_ipv6,
    is_connected,
    of_bridge,
    of_interface,
    surplus,
    unused_bridges,
)
from .._network_spec.publishing import Record
from . import forwarding


def bridges(
    record: Record | None, former: t.Sequence[Record], there: t.Sequence[Record], seen: Observed, state_dir: str
) -> None:
    """Apply the bridges that a network needs, or needed. Foreign bridges are used but not changed. ``there``: the records of all
    wanted networks."""
    needed = bridges_of([record] if record else [])
    with Links() as links:
        for name in sorted(needed | bridges_of(former)):
            link = seen.host.get(name)
            if link is None and name in needed:
                link = links.make_bridge(name, names.bridge_mac(state_dir, name))
            elif link is None or name not in seen.our_bridges:
                continue
            _close(links, link, has_ipv6(bridge_addresses(there, name)))
            _set_addresses(links, link, of_bridge(name, former, there, link).get("addresses"))
            if not link.up:
                links.change(link, state="up")


def interfaces(record: Record, former: t.Sequence[Record], seen: Observed, state_dir: str) -> None:
    """Apply the interfaces, and their links in the namespace."""
    name = record["name"]
    pairs = {each["name"]: of_interface(each, former, seen) for each in record["interfaces"]}
    with contextlib.ExitStack() as opened:
        links = opened.enter_context(Links())
        namespace = os.open(netns.path_of(name), os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, namespace)
        for gone in surplus(record, seen):
            links.remove(seen.ends[gone])
        host = links.all()
        for interface in record["interfaces"]:
            changes = pairs[interface["name"]]
            if changes:
                _connect(links, interface, changes, seen, host, namespace, (state_dir, name))
    netns.inside(name, lambda: _inside(record, pairs))


def _connect(
    links: Links, interface: t.Mapping[str, t.Any], changes: t.Mapping[str, Pair], seen: Observed, host: t.Mapping[str, Link],
    namespace: int, whose: tuple[str, str],
) -> None:  # fmt: skip
    """Apply the end on the host. ``host``: the current links, including bridges."""
    name = interface["name"]
    end = seen.ends.get(name)
    if end is None or not is_connected(seen.inside.get(name), end):
        if end is not None:
            links.remove(end)
        there = {"ifname": name, "address": interface["mac"], "net_ns_fd": namespace}
        here = names.host_interface(*whose, name), names.host_mac(*whose, name)
        end = links.make_cable(*here, interface["mtu"], there)
    links.change(end, ifalias=names.alias(whose[1], name))
    _close(links, end, False)
    if "mtu" in changes:
        links.change(end, mtu=interface["mtu"])
    links.change(end, master=host[interface["bridge"]].ifindex)
    links.let_return(end)
    links.change(end, state="up")


def _inside(record: Record, pairs: t.Mapping[str, t.Mapping[str, Pair]]) -> None:
    with Links() as links:
        found = links.all(lasting=True)
        _close(links, found["lo"])
        links.change(found["lo"], state="up")
        for interface in record["interfaces"]:
            link, changes = found[interface["name"]], pairs[interface["name"]]
            if not changes:
                continue
            # Neighbours must learn about another MAC address.
            _try(f"net/ipv4/conf/{link.name}/arp_notify", "1")
            _try(f"net/ipv6/conf/{link.name}/ndisc_notify", "1")
            if link.mac != interface["mac"]:
                links.change(link, address=interface["mac"])
            if link.mtu != interface["mtu"]:
                links.change(link, mtu=interface["mtu"])
            _close(links, link, has_ipv6(interface["addresses"]) or None)
            _set_addresses(links, link, changes.get("addresses"))
            links.change(link, state="up")


def _close(links: Links, link: Link, ipv6: bool | None = None) -> None:
    """Set the sysctls of a link of Longshore before it is up. Raises EngineError, because an open link must not be used."""
    changed = {
        path: value for path, (before, value) in forwarding.differing(sysctls.closed(link.name, ipv6)).items()
        if before is not None
    }  # fmt: skip
    # The last one shows the next task that nothing is left to do.
    last = {path: value for path, value in changed.items() if path.endswith("/autoconf")}
    forwarding.write_all({path: value for path, value in changed.items() if path not in last})
    if any(path.endswith("/accept_ra") for path in changed) or last:
        links.forget_router(link)
    forwarding.write_all(last)


def _set_addresses(links: Links, link: Link, pair: Pair | None) -> None:
    if pair is None:
        return
    before, after = set(link.addresses), set(pair[1])
    for address in sorted(before - after):
        links.drop_address(link, address)
    # The removal of the first address of a network may remove its other addresses (promote_secondaries).
    for address in pair[1]:
        if address not in before or not before <= after:
            links.add_address(link, address)


def _try(path: str, value: str) -> None:
    with contextlib.suppress(EngineError):  # a host without IPv6, or without permission: this is optional
        forwarding.write(path, value)


def routes(record: Record, former: t.Sequence[Record]) -> None:
    """Apply the routes, after the interfaces, because the kernel removes routes together with an address."""

    def change() -> None:
        with Links() as links:
            gone, come = changed_routes(record, former, links.routes())
            found = links.all()
            for route in come:
                links.add_route(route, found[route.interface])
            for route in gone:
                if route.to not in {each.to for each in come}:
                    links.drop_route(route)

    netns.inside(record["name"], change)


def remove(name: str, seen: Observed) -> None:
    """Remove the veth pairs and the namespace, unless the namespace belongs to another program now."""
    with Links() as links:
        for end in seen.ends.values():
            links.remove(end)
    if seen.namespace or not netns.exists(name):
        netns.remove(name)


def remove_bridges(there: t.Sequence[Record], seen: Observed) -> None:
    """Remove unused bridges. ``there``: the records of all wanted networks."""
    gone = unused_bridges(there, seen)
    if gone:
        with Links() as links:
            for name in gone:
                links.remove(seen.host[name])
