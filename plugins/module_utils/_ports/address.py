# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of the host as text: one parser, one rule for overlaps, one formatter. Pure functions.

Everywhere, a port without an address is for all addresses of IPv4 and IPv6; ``0.0.0.0`` is all of IPv4, ``[::]`` all of
IPv6.
"""

from __future__ import annotations

import re
import socket
import typing as t

from .._base.errors import InvalidOption

PROTOCOLS: t.Final = ("tcp", "udp", "sctp")
WILDCARDS: t.Final = ("0.0.0.0", "::")
_HIGHEST = 65535
_NUMBER = f"a port is a number from 1 to {_HIGHEST}"
# Multicast and broadcast addresses, and those with a scope.
_NOT_PUBLISHED = re.compile(r"^22[4-9]\.|^23[0-9]\.|^255\.255\.255\.255$|^ff..:|%")
_MAPPED = bytes(10) + b"\xff\xff"  # IPv4 in IPv6 (RFC 4291, 2.5.5.2)
_HOST_PORTS = r"(?:(?P<host>\[[^\]]*\]|[^:\[\]]+):)?(?P<first>[0-9]+)(?:-(?P<last>[0-9]+))?"
_PROTOCOL = r"(?:/(?P<protocol>.+))?"
_RESERVED = re.compile(_HOST_PORTS + _PROTOCOL)
_PUBLISHED = re.compile(_HOST_PORTS + r":(?P<target>[0-9]+)(?:-(?P<target_last>[0-9]+))?" + _PROTOCOL)


class Ports(t.NamedTuple):
    """A range of ports of this host, from ``first`` to ``last``. ``host``: an IP address, with ``%INTERFACE`` where it has a
    scope; None for all addresses."""

    protocol: str
    host: str | None
    first: int
    last: int

    def __str__(self) -> str:
        return f"{_prefix(self.host)}{_range(self.first, self.last)}/{self.protocol}"

    def covers(self, other: Ports) -> bool:
        """Return whether these ports include all ports of ``other``."""
        within = self.first <= other.first and other.last <= self.last
        return self.protocol == other.protocol and within and _host_covers(self.host, other.host)

    def overlaps(self, other: Ports) -> bool:
        """Return whether these ports and those of ``other`` have any in common."""
        hosts = _host_covers(self.host, other.host) or _host_covers(other.host, self.host)
        return hosts and self.protocol == other.protocol and self.first <= other.last and other.first <= self.last


class PublishedPort(t.NamedTuple):
    """Ports of this host, from ``port`` to ``last`` at the address ``ip`` (None: all addresses), that lead to as many ports of
    a container, from ``target`` on. The fields are those of records on disk."""

    ip: str | None
    port: int
    last: int
    target: int
    protocol: str

    def __str__(self) -> str:
        return f"{_prefix(self.ip)}{self.host_range}:{self.target_range}/{self.protocol}"

    @property
    def source(self) -> Ports:
        return Ports(self.protocol, self.ip, self.port, self.last)

    @property
    def host_range(self) -> str:
        return _range(self.port, self.last)

    @property
    def target_range(self) -> str:
        return _range(self.target, self.target + self.last - self.port)


def parse_ports(what: str, text: str | int) -> Ports:
    """Read ``[IP:]PORT[-LAST][/PROTOCOL]``. ``what`` is the option, for errors. Raises InvalidOption."""
    hint = "Such as 8080, 127.0.0.1:8080/tcp, [::1]:53/udp or 8000-8010/tcp."
    return _parse(_RESERVED, what, text, "[IP:]PORT[-LAST]", hint)[0]


def parse_published(text: str | int, known: t.Container[PublishedPort] = ()) -> PublishedPort:
    """Read ``[IP:]HOST_PORT[-LAST]:CONTAINER_PORT[-LAST][/PROTOCOL]``. ``known``: the ports of a record, which stay as they are
    where an earlier release has read them from a range of the host alone. Raises InvalidOption."""
    entry, extra = _published(text)
    more = entry.last - entry.port
    if extra != more and (extra or entry not in known):
        # podman refuses it. docker takes any free port of the host's range for a single port of the container.
        last, hint = entry.port + max(extra, more), f"Write {entry._replace(last=entry.port)} for one port"
        if last <= _HIGHEST:
            hint += f", or {entry._replace(last=last)} for {last - entry.port + 1}"
        raise invalid("publish", text, "the two ranges of ports must be of the same length", f"{hint}.")
    return entry


def recorded_port(text: str) -> PublishedPort:
    """Read ports of a record. For earlier releases, a range of the host alone was one of the container too."""
    return _published(text)[0]


def _published(text: str | int) -> tuple[PublishedPort, int]:
    """Return the ports, and how many further ones the range of the container has."""
    hint = "Such as 8080:80, 127.0.0.1:8080:80, [2001:db8::1]:8080:80 or 1053:53/udp."
    if str(text).isdecimal():
        hint += " Quote it: YAML takes 8080:22 for a number."
    ports, found = _parse(_PUBLISHED, "publish", text, "[IP:]HOST_PORT[-LAST]:CONTAINER_PORT[-LAST]", hint)
    target = _number(found["target"])
    more, extra = ports.last - ports.first, _number(found["target_last"] or found["target"]) - target
    if extra < 0:
        raise invalid("publish", text, "a range of ports must go up")
    if target < 1 or target + max(more, extra) > _HIGHEST:
        raise invalid("publish", text, _NUMBER)
    if _NOT_PUBLISHED.search(ports.host or ""):
        raise invalid("publish", text, "an address of many hosts, or with a scope, cannot be published")
    return PublishedPort(ports.host, ports.first, ports.last, target, ports.protocol), extra


def invalid(what: str, text: str | int, reason: str, hint: str = "") -> InvalidOption:
    return InvalidOption(f"{what} cannot be {str(text)!r}: {reason}.", hint=hint)


def _parse(pattern: re.Pattern[str], what: str, text: str | int, form: str, hint: str) -> tuple[Ports, re.Match[str]]:
    found = pattern.fullmatch(str(text))
    if found is None:
        raise invalid(what, text, f"it is {form}[/tcp|/udp|/sctp]", hint)
    protocol, host, first = (found["protocol"] or "tcp").lower(), found["host"], _number(found["first"])
    last = _number(found["last"] or found["first"])
    address = _canonical(host) if host else None
    if protocol not in PROTOCOLS:
        raise invalid(what, text, f"the protocol {protocol} is none of {', '.join(PROTOCOLS)}")
    if first > last:
        raise invalid(what, text, "a range of ports must go up")
    if first < 1 or last > _HIGHEST:
        raise invalid(what, text, _NUMBER)
    if host and address is None:
        hint = "Use an address instead of a name, and write an IPv6 address in brackets."
        raise invalid(what, text, f"{host} is not an IP address", hint)
    return Ports(protocol, address, first, last), found


def _number(digits: str) -> int:
    """Return a number that is too large for a port as one more than the highest: Python converts no more than 4,300 digits."""
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= 5 else _HIGHEST + 1


def _canonical(host: str) -> str | None:
    """Return an address in its usual spelling, so that two can be compared; IPv4 in IPv6 as IPv4. None for other text."""
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    plain, percent, scope = (host[1:-1] if family == socket.AF_INET6 else host).partition("%")
    try:
        packed = socket.inet_pton(family, plain)
    except (OSError, ValueError):  # ValueError: characters that no address has
        return None
    mapped = packed[:12] == _MAPPED
    if percent and (family == socket.AF_INET or mapped or not re.fullmatch(r"[^\s/%]+", scope)):
        return None
    if mapped:
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(family, packed) + percent + scope


def _host_covers(host: str | None, other: str | None) -> bool:
    return host in (None, other) or (other is not None and host == ("::" if ":" in other else "0.0.0.0"))


def _prefix(host: str | None) -> str:
    return "" if host is None else f"[{host}]:" if ":" in host else f"{host}:"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
