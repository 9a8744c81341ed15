# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sysctls of our links: no container changes by them how the host or its neighbours reach the network. Pure functions."""

from __future__ import annotations

import typing as t

from .._netlink.links import Link

_IPV4: t.Final = ("accept_redirects", "accept_source_route", "proxy_arp", "proxy_arp_pvlan")
_IPV6: t.Final = ("accept_ra", "accept_redirects", "accept_source_route", "autoconf", "proxy_ndp")


def closed(name: str, ipv6: bool | None = None) -> dict[str, str]:
    """Values by their path below /proc/sys. ``ipv6``: whether the link has a use for IPv6; None where that is not ours to say.

    Those of ``lo`` are of all links of a namespace: of IPv4, accept_redirects and proxy_arp hold where either value is 1.
    """
    if name == "lo":
        return {f"net/ipv4/conf/all/{key}": "0" for key in _IPV4}
    found = {f"net/ipv4/conf/{name}/{key}": "0" for key in _IPV4}
    found.update((f"net/ipv6/conf/{name}/{key}", "0") for key in _IPV6)
    if ipv6 is not None:
        found[f"net/ipv6/conf/{name}/disable_ipv6"] = str(int(not ipv6))
    return found


def differing(link: Link, ipv6: bool | None = None) -> dict[str, tuple[str, str]]:
    """Those of a link that are otherwise: what they are and what they shall be. A kernel without IPv6 has only some of them."""
    pairs = {path: (link.settings.get(path, value), value) for path, value in closed(link.name, ipv6).items()}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}
