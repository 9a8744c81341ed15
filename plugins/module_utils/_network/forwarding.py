# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Determine the sysctls that the host needs to forward packets for networks; read and write them."""

from __future__ import annotations

import os
import typing as t

from .._base.errors import LongshoreError, reason_of
from .._base.files import read_text
from .._network_spec.publishing import family, forwarded, targets
from .._network_spec.record import NetworkRecord

TOP = "/proc/sys"
IPV4, IPV6 = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"


def needed(records: t.Iterable[NetworkRecord], bridges: t.Collection[str]) -> dict[str, str]:
    """Return values by their path below /proc/sys. ``bridges``: those that exist on the host, or will exist. Pure."""
    found = {}
    for record in records:
        leads_to = targets(record) if record.publish else {}
        for interface, address in forwarded(record):
            opened = record.routed or not record.isolated
            if record.masquerade or opened or address in [each for _interface, each in leads_to.values()]:
                found[IPV4 if family(address) == 4 else IPV6] = "1"
            if (interface, address) == leads_to.get(4) and not interface.foreign and interface.bridge in bridges:
                # For clients on this host that use 127.0.0.1. The table drops such packets from neighbours.
                found[f"net/ipv4/conf/{interface.bridge}/route_localnet"] = "1"
    return found


def read(paths: t.Iterable[str]) -> dict[str, str]:
    """Return the values of those sysctls that exist, by path."""
    found = {path: read_one(path) for path in paths}
    return {path: value for path, value in found.items() if value is not None}


def differing(wanted: t.Mapping[str, str]) -> dict[str, tuple[str | None, str]]:
    """Return sysctls with a wrong value by path, as current (None if it does not exist yet) and wanted value."""
    found = {path: (read_one(path), value) for path, value in wanted.items()}
    return {path: pair for path, pair in found.items() if pair[0] != pair[1]}


def main_of(path: str) -> str:
    """Return the sysctl that this one was changed with: route_localnet itself, or the main one of its family."""
    if path.endswith("/route_localnet"):
        return path
    return IPV6 if path.startswith("net/ipv6/") else IPV4


def is_kept(path: str, wanted: t.Mapping[str, str]) -> bool:
    """Return whether the change of a sysctl is still needed."""
    return main_of(path) in wanted


def write(path: str, value: str) -> None:
    """Write one value. Raises LongshoreError."""
    try:
        with open(os.path.join(TOP, path), "w", encoding="ascii") as stream:
            stream.write(value)
    except OSError as exc:
        hint = "Check that /proc/sys is writable, which it is not in a container."
        raise LongshoreError(f"Cannot set the sysctl {path} to {value}: {reason_of(exc)}.", hint=hint) from exc


def write_all(values: t.Mapping[str, str]) -> None:
    """Write values in their order. Raises LongshoreError."""
    for path, value in values.items():
        write(path, value)


def read_one(path: str) -> str | None:
    text = read_text(os.path.join(TOP, path))
    return None if text is None else text.strip()
