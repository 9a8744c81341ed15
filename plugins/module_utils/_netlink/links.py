# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links, addresses and routes over netlink, with pyroute2. Its import is slow, so it is done in a function.

A session belongs to the network namespace of the thread that opens it (see netns.inside).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import typing as t

from .._base.errors import MissingPrerequisite
from .netlink import ask

STATIC = 4  # RTPROT_STATIC: routes of an administrator, and so of Longshore
_NO_DAD = 2  # IFA_F_NODAD: no other host can have the address, and it must be usable at once
_MAIN, _UNICAST, _LINK_SCOPE = 254, 1, 253
_ANNOUNCED, _PERMANENT = 9, 0x80  # RTPROT_RA, IFA_F_PERMANENT


class Link(t.NamedTuple):
    """A network interface. ``addresses``: those with more than link scope, with their prefix length. ``settings``: sysctls by
    their path, if observe.py has read them."""

    ifindex: int
    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 0
    up: bool = False
    master: int | None = None
    peer: int | None = None
    alias: str | None = None
    addresses: tuple[str, ...] = ()
    settings: t.Mapping[str, str] = {}


class Route(t.NamedTuple):
    to: str
    via: str
    interface: str


class Links:
    """A session with the kernel, as a context manager. Every method raises LongshoreError if the kernel refuses the request."""

    def __init__(self) -> None:
        try:
            from pyroute2 import IPRoute
        except ImportError as exc:
            raise MissingPrerequisite(
                f"Networks need pyroute2, which is not installed for the Python of this host ({exc}).",
                hint="The role longshore.oci.runtime installs it (package python3-pyroute2).",
            ) from exc
        self._kernel = IPRoute()

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._kernel.close()

    def _ask(self, what: str, method: str, *arguments: t.Any, ignored: t.Collection[int] = (), **more: t.Any) -> t.Any:
        return ask(what, lambda: getattr(self._kernel, method)(*arguments, **more), ignored=ignored)

    def all(self, *, lasting: bool = False) -> dict[str, Link]:
        """Return the links by name. ``lasting``: without IPv6 addresses that a router has announced."""
        addresses: dict[int, list[str]] = {}
        for message in self._ask("list addresses", "get_addr"):
            if message["scope"] != _LINK_SCOPE and not (lasting and _is_announced(message)):
                text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                addresses.setdefault(message["index"], []).append(f"{text}/{message['prefixlen']}")
        found = {}
        for message in self._ask("list interfaces", "get_links"):
            name, index = message.get_attr("IFLA_IFNAME"), message["index"]
            info = message.get_attr("IFLA_LINKINFO")
            found[name] = Link(
                index, name, (info.get_attr("IFLA_INFO_KIND") if info else "") or "", message.get_attr("IFLA_ADDRESS") or "",
                message.get_attr("IFLA_MTU") or 0, bool(message["flags"] & 1), message.get_attr("IFLA_MASTER"),
                message.get_attr("IFLA_LINK"), message.get_attr("IFLA_IFALIAS"), tuple(sorted(addresses.get(index, ()))),
            )  # fmt: skip
        return found

    def routes(self) -> list[Route]:
        """Return the static routes with a gateway, sorted."""
        names = {link.ifindex: link.name for link in self.all().values()}
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            for message in self._ask("list routes", "get_routes", family=family, table=_MAIN):
                via = message.get_attr("RTA_GATEWAY")
                if via and message["proto"] == STATIC and message["type"] == _UNICAST:
                    any_of = "0.0.0.0" if family == socket.AF_INET else "::"
                    to = f"{message.get_attr('RTA_DST') or any_of}/{message['dst_len']}"
                    found.append(Route(to, via, names.get(message.get_attr("RTA_OIF"), "")))
        return sorted(found)

    def create_bridge(self, name: str, mac: str) -> Link:
        self._ask(f"create the bridge {name}", "link", "add", ifname=name, kind="bridge", address=mac)
        return self.all()[name]

    def create_veth_pair(self, name: str, address: str, mtu: int, there: t.Mapping[str, t.Any]) -> Link:
        """Create a veth pair. ``there`` is the other end: ifname, address, net_ns_fd. It is never in this namespace."""
        what = f"create the interface {there['ifname']}"
        self._ask(what, "link", "add", ifname=name, kind="veth", address=address, mtu=mtu, peer={**there, "mtu": mtu})
        return self.all()[name]

    def change(self, link: Link, **what: t.Any) -> None:
        """Change ``mtu``, ``address``, ``master`` (an index), ``state``, ``ifname`` or ``ifalias``."""
        self._ask(f"change the interface {link.name}", "link", "set", index=link.ifindex, **what)

    def set_hairpin(self, link: Link) -> None:
        """Set hairpin mode: the bridge sends packets back to their port. A container needs it for its own published ports."""
        self._ask(f"change the port {link.name} of its bridge", "brport", "set", index=link.ifindex, mode=1)

    def forget_router(self, link: Link) -> None:
        """Remove the addresses and routes of IPv6 that a router has announced on a link."""
        index = link.ifindex
        for message in self._ask("list addresses", "get_addr", index=index, family=socket.AF_INET6):
            if _is_announced(message):
                self.drop_address(link, f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}")
        for message in self._ask("list routes", "get_routes", family=socket.AF_INET6, table=_MAIN):
            # The route to an announced network belongs to the kernel, and expires.
            expires = (message.get_attr("RTA_CACHEINFO") or {}).get("rta_expires")
            if message.get_attr("RTA_OIF") == index and (message["proto"] == _ANNOUNCED or expires):
                to = f"{message.get_attr('RTA_DST') or '::'}/{message['dst_len']}"
                via = {"gateway": message.get_attr("RTA_GATEWAY")} if message.get_attr("RTA_GATEWAY") else {}
                what = f"remove the route to {to} that was announced on {link.name}"
                more = {"dst": to, "oif": index, "proto": message["proto"], "family": socket.AF_INET6, **via}
                self._ask(what, "route", "del", ignored=(errno.ESRCH,), **more)

    def remove(self, link: Link) -> None:
        self._ask(f"remove the interface {link.name}", "link", "del", index=link.ifindex, ignored=(errno.ENODEV,))

    def add_address(self, link: Link, text: str) -> None:
        what = {"flags": _NO_DAD} if ":" in text else {}
        self._address("add", link, text, ignored=(errno.EEXIST,), **what)

    def drop_address(self, link: Link, text: str) -> None:
        self._address("delete", link, text, ignored=(errno.EADDRNOTAVAIL, errno.ENODEV))

    def _address(self, how: str, link: Link, text: str, **more: t.Any) -> None:
        address = ipaddress.ip_interface(text)
        where: dict[str, t.Any] = {
            "index": link.ifindex,
            "address": str(address.ip),
            "prefixlen": address.network.prefixlen,
        }
        self._ask(f"{how} the address {text} of {link.name}", "addr", how, **where, **more)

    def add_route(self, route: Route, link: Link) -> None:
        """Add a route. It replaces another one to the same network."""
        what = f"set the route to {route.to} via {route.via}"
        self._ask(what, "route", "replace", dst=route.to, gateway=route.via, oif=link.ifindex, proto=STATIC)

    def drop_route(self, route: Route) -> None:
        what = f"remove the route to {route.to} via {route.via}"
        self._ask(what, "route", "del", dst=route.to, gateway=route.via, proto=STATIC, ignored=(errno.ESRCH,))


def _is_announced(message: t.Any) -> bool:
    return message["family"] == socket.AF_INET6 and not message["flags"] & _PERMANENT
