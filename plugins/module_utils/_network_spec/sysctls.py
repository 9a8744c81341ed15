# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sysctls of Longshore's links, which prevent containers from changing routes of the host and its neighbours. Pure."""

from __future__ import annotations

import typing as t

from .._netlink.links import Link

_IPV4: t.Final = ("accept_redirects", "accept_source_route", "proxy_arp", "proxy_arp_pvlan")
_IPV6: t.Final = ("accept_ra", "accept_redirects", "accept_source_route", "autoconf", "proxy_ndp")


def closed(name: str, ipv6: bool | None = None) -> dict[str, str]:
    """Return values by their path below /proc/sys. ``ipv6``: whether the link uses IPv6, None if another program decides that.

    Those of ``lo`` are for all links of a namespace: for IPv4, accept_redirects and proxy_arp apply if either value is 1.
    """
    if name == "lo":
        return {f"net/ipv4/conf/all/{key}": "0" for key in _IPV4}
    found = {f"net/ipv4/conf/{name}/{key}": "0" for key in _IPV4}
    found.update((f"net/ipv6/conf/{name}/{key}", "0") for key in _IPV6)
    if ipv6 is not None:
        found[f"net/ipv6/conf/{name}/disable_ipv6"] = str(int(not ipv6))
    return found


def differing(link: Link, ipv6: bool | None = None) -> dict[str, tuple[str, str]]:
    """Return the wrong values of a link, as current and wanted value. A kernel without IPv6 has only some of them."""
    pairs = {path: (link.settings.get(path, value), value) for path, value in closed(link.name, ipv6).items()}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}
