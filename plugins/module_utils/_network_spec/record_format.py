# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of networks as JSON objects, written and read. Pure functions."""

from __future__ import annotations

import ipaddress
import typing as t

from .._netlink.links import Route
from .._ports.address import PublishedPort
from .record import InterfaceRecord, NetworkRecord

RECORD_FORMAT = 1  # Raised when an older release could misread what is written.
_Reader = t.Callable[[t.Any], t.Any]


def to_json(record: NetworkRecord) -> dict[str, t.Any]:
    found = {"format": RECORD_FORMAT, **record._asdict()}
    found.update({key: [each._asdict() for each in found[key]] for key in ("interfaces", "routes", "publish")})
    unset = {"removing": False, "isolate": None, "routed": None}
    return {key: value for key, value in found.items() if key not in unset or value is not unset[key]}


def from_json(value: t.Any) -> NetworkRecord:
    """Raises KeyError, TypeError or ValueError for what to_json() never returns."""
    found: NetworkRecord = _NETWORK(value)
    return found


def _exactly(kind: type) -> _Reader:
    def read(value: t.Any) -> t.Any:
        # A boolean is no number here, although it is an int.
        if type(value) is not kind:  # pylint: disable=unidiomatic-typecheck
            raise TypeError(f"{value!r} is not of the type {kind.__name__}")
        return value

    return read


def _parsed(parse: t.Callable[[str], object]) -> _Reader:
    """Return a reader of text that ``parse`` takes."""

    def read(value: t.Any) -> t.Any:
        parse(_TEXT(value))
        return value

    return read


def _list(reader: _Reader) -> _Reader:
    return lambda value: tuple(map(reader, _exactly(list)(value)))


def _object(kind: t.Callable[..., t.Any], **fields: _Reader) -> _Reader:
    """Return a reader of objects. A field may be missing where ``kind`` has a default."""

    def read(value: t.Any) -> t.Any:
        there = _exactly(dict)(value).keys()
        return kind(**{name: reader(value[name]) for name, reader in fields.items() if name in there})

    return read


_TEXT, _FLAG, _NUMBER = _exactly(str), _exactly(bool), _exactly(int)
_ADDRESS, _ADDRESSES = _parsed(ipaddress.ip_address), _list(_parsed(ipaddress.ip_address))
_INTERFACE = _object(
    InterfaceRecord, name=_TEXT, bridge=_TEXT, foreign=_FLAG, addresses=_list(_parsed(ipaddress.ip_interface)),
    gateways=_ADDRESSES, host_gateways=_ADDRESSES, mac=_TEXT, mtu=_NUMBER,
)  # fmt: skip
_PUBLISHED = _object(
    PublishedPort, port=_NUMBER, last=_NUMBER, target=_NUMBER, protocol=_TEXT,
    ip=lambda value: None if value is None else _ADDRESS(value),
)  # fmt: skip
_NETWORK = _object(
    NetworkRecord, name=_TEXT, interfaces=_list(_INTERFACE), masquerade=_FLAG, isolate=_FLAG, routed=_FLAG, removing=_FLAG,
    routes=_list(_object(Route, to=_parsed(ipaddress.ip_network), via=_ADDRESS, interface=_TEXT)), publish=_list(_PUBLISHED),
)  # fmt: skip
