# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making links, addresses and routes what they shall be, from whatever they are.

What the kernel does in one step is made in one. What takes several is up only after the last of them, so that the next run sees
what a killed one has left.
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
    """Those that a network needs, or needed. Those of somebody else are used, and not changed. ``there``: the records of all
    networks that are to be there."""
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
    """And what goes with them in the namespace."""
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
    """The end on the host. ``host``: the links, bridges included, as they are by now."""
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
            # Neighbours hear of another hardware address.
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
    """Set the sysctls of a link of ours, before it is up. Raises EngineError: a link that is open is not left alone."""
    changed = {
        path: value for path, (before, value) in forwarding.differing(sysctls.closed(link.name, ipv6)).items()
        if before is not None
    }  # fmt: skip
    # The last one shows the next task that nothing is left to be forgotten.
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
    # With the first address of a network its others may go as well (promote_secondaries).
    for address in pair[1]:
        if address not in before or not before <= after:
            links.add_address(link, address)


def _try(path: str, value: str) -> None:
    with contextlib.suppress(EngineError):  # a host without IPv6, or one that may not: it is for the better only
        forwarding.write(path, value)


def routes(record: Record, former: t.Sequence[Record]) -> None:
    """After the interfaces: with an address the kernel also takes away the routes by it."""

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
    """The cables, and the namespace with what is in it, unless it is somebody else's by now."""
    with Links() as links:
        for end in seen.ends.values():
            links.remove(end)
    if seen.namespace or not netns.exists(name):
        netns.remove(name)


def remove_bridges(there: t.Sequence[Record], seen: Observed) -> None:
    """``there``: the records of all networks that are to be there."""
    gone = unused_bridges(there, seen)
    if gone:
        with Links() as links:
            for name in gone:
                links.remove(seen.host[name])
