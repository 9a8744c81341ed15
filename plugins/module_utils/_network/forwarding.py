# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sysctls the host needs to forward packets for networks, and how they get to what they were."""

from __future__ import annotations

import os
import typing as t

from .._engine.errors import EngineError, reason_of
from .._engine.files import read_text
from .publishing import Record, family, forwarded, targets

TOP = "/proc/sys"
IPV4, IPV6 = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"
_FROM_ROUTER, _DEFAULT = 0x40000, "0" * 32  # RTF_ADDRCONF; in /proc/net/ipv6_route


def needed(records: t.Iterable[Record]) -> dict[str, str]:
    """Values by their path below /proc/sys. A pure function."""
    found = {}
    for record in records:
        leads_to = targets(record) if record["publish"] else {}
        for interface, address in forwarded(record):
            if record["masquerade"] or address in [each for _interface, each in leads_to.values()]:
                found[IPV4 if family(address) == 4 else IPV6] = "1"
            if (interface, address) == leads_to.get(4) and not interface["foreign"]:
                # For clients on this host that ask 127.0.0.1; the table lets no neighbour make use of it.
                found[f"net/ipv4/conf/{interface['bridge']}/route_localnet"] = "1"
    return found


def differing(wanted: t.Mapping[str, str]) -> dict[str, tuple[str | None, str]]:
    """Those that are otherwise: what they are (None where there is no such sysctl yet), and what they shall be."""
    found = {path: (_read(path), value) for path, value in wanted.items()}
    return {path: pair for path, pair in found.items() if pair[0] != pair[1]}


def to_change(wanted: t.Mapping[str, str]) -> dict[str, tuple[str | None, str]]:
    """With those that a host that becomes a router of IPv6 needs to keep its own default route from another router."""
    found = differing(wanted)
    if IPV6 in found:
        for link in _learned():
            path = f"net/ipv6/conf/{link}/accept_ra"
            if _read(path) == "1":
                # First: the route would be gone with the other one.
                found = {path: ("1", "2"), **found}
    return found


def _learned() -> set[str]:
    """Links whose default route a router has announced."""
    lines = [line.split() for line in (read_text("/proc/net/ipv6_route") or "").splitlines()]
    return {words[-1] for words in lines if words[:2] == [_DEFAULT, "00"] and int(words[-2], 16) & _FROM_ROUTER}


def is_kept(path: str, wanted: t.Mapping[str, str]) -> bool:
    """Whether what we have changed is still needed."""
    return (IPV6 if path.endswith("/accept_ra") else path) in wanted


def to_restore(
    changed: t.Mapping[str, tuple[str, str]], wanted: t.Mapping[str, str], others_forward: bool
) -> dict[str, str]:
    """Old values that shall be back. ``changed``: old and new value by path, of what we changed since the boot.

    Forwarding stays on where somebody else has rules about it: they may have come to count on it.
    """
    found = {
        path: old for path, (old, new) in changed.items()
        if not is_kept(path, wanted) and _read(path) == new
        and not (others_forward and (path in (IPV4, IPV6) or path.endswith("/accept_ra")))
    }  # fmt: skip
    # Forwarding before accept_ra, in the reverse order of the change.
    return dict(sorted(found.items(), key=lambda item: item[0].endswith("/accept_ra")))


def write(path: str, value: str) -> None:
    """Raises EngineError."""
    try:
        with open(os.path.join(TOP, path), "w", encoding="ascii") as stream:
            stream.write(value)
    except OSError as exc:
        hint = "Is /proc/sys writable, or is this host a container itself?"
        raise EngineError(f"Cannot set the sysctl {path} to {value}: {reason_of(exc)}.", hint=hint) from exc


def _read(path: str) -> str | None:
    text = read_text(os.path.join(TOP, path))
    return None if text is None else text.strip()
