# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse addresses, and refuse those that no host can have. Pure functions, which raise InvalidOption."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._base.errors import InvalidOption

# YAML 1.1 takes groups of decimal digits below 60 for a number of that base, such as 52:54:00:12:34:56.
_QUOTE = "Put it in quotes: YAML has taken it for a number."
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def address(text: str) -> t.Any:
    try:
        if "%" not in text:
            return ipaddress.ip_address(text)
    except ValueError:
        pass
    hint = _QUOTE if re.fullmatch("[1-9][0-9]{12,}", text) else ""  # eight decimal groups
    raise InvalidOption(f"{text!r} is not an IP address.", hint=hint)


def subnet(text: str) -> Network:
    address(text.partition("/")[0])
    try:
        found = ipaddress.ip_network(text)
    except ValueError as exc:
        raise InvalidOption(f"{text!r} is not a subnet: {exc}.", hint="Write a subnet such as 10.78.0.0/24.") from exc
    if found.num_addresses < 4:
        raise InvalidOption(f"The subnet {text} is too small: it needs a gateway and an address.")
    return found


def static(text: str, subnets: t.Mapping[int, t.Any]) -> t.Any:
    """Return the address with its prefix length, or with that of the subnet of its family."""
    within = subnets.get(address(text.partition("/")[0]).version)
    if "/" not in text and within is None:
        length = 64 if ":" in text else 24
        hint = f"Write {text}/{length}, or set subnet."
        raise InvalidOption(f"The address {text} has no prefix length.", hint=hint)
    try:
        found = ipaddress.ip_interface(text if "/" in text else f"{text}/{within.prefixlen if within else ''}")
    except ValueError as exc:
        raise InvalidOption(f"{text!r} is not an address: {exc}.") from exc
    if within is not None and found.network != within:
        raise InvalidOption(f"The address {text} is not in the subnet {within}.")
    return found


def check_host(host: t.Any, network: Network) -> None:
    """Refuse addresses with a special meaning, the first and last address of an IPv4 network, and the first address of an IPv6
    network, which belongs to any router (RFC 4291, 2.6.1)."""
    special = host.is_loopback or host.is_multicast or host.is_unspecified or network.prefixlen == 0
    if host.version == 4:
        special = special or host in ipaddress.ip_network("0.0.0.0/8") or str(host) == "255.255.255.255"
    else:
        # The kernel assigns link-local addresses. IPv4 in IPv6 is only for sockets.
        special = special or host.is_link_local or host.ipv4_mapped or host in ipaddress.ip_network("::/96")
    ends = [network.network_address, *([network.broadcast_address] if network.version == 4 else [])]
    if special or (network.num_addresses > 2 and host in ends):
        raise InvalidOption(f"{host} is not an address for a host in {network}.")


def destination(to: str, via: str) -> Network:
    """Return the destination of a route."""
    gateway = address(via)
    if to == "default":
        return ipaddress.ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
    try:
        found = ipaddress.ip_network(to)
    except ValueError as exc:
        raise InvalidOption(f"A route cannot lead to {to!r}: {exc}.", hint="Use a network, or default.") from exc
    if found.version != gateway.version:
        raise InvalidOption(f"The route to {to} cannot go via {via}: one is IPv4, the other is IPv6.")
    first = found.network_address
    if first.is_loopback or first.is_multicast or first.is_link_local:
        raise InvalidOption(f"A route cannot lead to {to}, which has a special meaning.")
    return found


def hardware(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text) or int(text[:2], 16) % 2 or text.strip("0:") == "":
        hint = _QUOTE if re.fullmatch("[1-9][0-9]{9,10}", text) else "Write it as 02:00:00:00:00:01."
        raise InvalidOption(f"{text!r} is not the MAC address of an interface.", hint=hint)
    return text.lower()
