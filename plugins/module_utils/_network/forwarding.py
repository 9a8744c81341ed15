# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set the sysctls that the host needs to forward packets for networks, and restore the former values."""

from __future__ import annotations

import os
import typing as t

from .._base.errors import EngineError, reason_of
from .._base.files import read_text
from .._network_spec.publishing import Record, family, forwarded, targets

TOP = "/proc/sys"
IPV4, IPV6 = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"
_REDIRECTS = "net/ipv4/conf/all/accept_redirects"
_FROM_ROUTER, _DEFAULT = 0x40000, "0" * 32  # RTF_ADDRCONF; in /proc/net/ipv6_route


def needed(records: t.Iterable[Record], bridges: t.Collection[str]) -> dict[str, str]:
    """Return values by their path below /proc/sys. ``bridges``: existing or wanted ones on the host. A pure function."""
    found = {}
    for record in records:
        leads_to = targets(record) if record["publish"] else {}
        for interface, address in forwarded(record):
            opened = record.get("routed") or not record.get("isolate", True)
            if record["masquerade"] or opened or address in [each for _interface, each in leads_to.values()]:
                found[IPV4 if family(address) == 4 else IPV6] = "1"
            if (interface, address) == leads_to.get(4) and not interface["foreign"] and interface["bridge"] in bridges:
                # For clients on this host that connect to 127.0.0.1. The table prevents neighbours from using it.
                found[f"net/ipv4/conf/{interface['bridge']}/route_localnet"] = "1"
    return found


def read(paths: t.Iterable[str]) -> dict[str, str]:
    """Return the values of the existing sysctls."""
    found = {path: _read(path) for path in paths}
    return {path: value for path, value in found.items() if value is not None}


def differing(wanted: t.Mapping[str, str]) -> dict[str, tuple[str | None, str]]:
    """Return the wrong values: the current one (None if the sysctl does not exist yet) and the wanted one."""
    found = {path: (_read(path), value) for path, value in wanted.items()}
    return {path: pair for path, pair in found.items() if pair[0] != pair[1]}


def to_change(wanted: t.Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return differing() with related sysctls, in the order of writing. The new value is empty for those that the kernel
    changes itself."""
    found = {path: (is_ or "", value) for path, (is_, value) in differing(wanted).items()}
    links = {path: _read(path) or "0" for main in found for path in _along(main)}
    found.update({path: (value, "") for path, value in links.items() if value != "0"})
    if IPV4 in found:
        found[_REDIRECTS] = (_read(_REDIRECTS) or "", "")
    if IPV6 in found:
        for link in _learned():
            path = f"net/ipv6/conf/{link}/accept_ra"
            if _read(path) == "1":
                # This must be first, because the other one would remove the route.
                found = {path: ("1", "2"), **found}
    return found


def _along(main: str) -> list[str]:
    """Return the sysctls that the kernel sets for all links together with forwarding (devinet.c, addrconf.c)."""
    top = {IPV4: "net/ipv4/conf", IPV6: "net/ipv6/conf"}.get(main)
    links = os.listdir(os.path.join(TOP, top)) if top else []
    return [f"{top}/{link}/forwarding" for link in links if link != "all"]


def _learned() -> set[str]:
    """Return the links whose default route a router has announced."""
    lines = [line.split() for line in (read_text("/proc/net/ipv6_route") or "").splitlines()]
    return {words[-1] for words in lines if words[:2] == [_DEFAULT, "00"] and int(words[-2], 16) & _FROM_ROUTER}


def _main(path: str) -> str:
    """Return the sysctl with which a sysctl was changed."""
    if path.endswith("/route_localnet"):
        return path
    return IPV6 if path.startswith("net/ipv6/") else IPV4


def is_kept(path: str, wanted: t.Mapping[str, str]) -> bool:
    """Tell whether a changed sysctl is still needed."""
    return _main(path) in wanted


def to_restore(
    changed: t.Mapping[str, tuple[str, str]], wanted: t.Mapping[str, str], others_forward: bool
) -> dict[str, str]:
    """Return the old values to restore, in the order of writing. ``changed``: old and new values by path since the boot.

    Forwarding stays enabled if other programs have rules about it, because they may depend on it now.
    """
    stays = {*wanted, *((IPV4, IPV6) if others_forward else ())}
    mains = [path for path in changed if path == _main(path) and path not in stays and _read(path) in changed[path]]
    # Then those that the kernel has changed with them, unless they were changed again.
    along = [path for path in changed if path != _main(path) and _main(path) in mains]
    along = [path for path in along if _read(path) is not None and changed[path][1] in ("", _read(path))]
    return {path: changed[path][0] for path in (*mains, *along)}


def write(path: str, value: str) -> None:
    """Raises EngineError."""
    try:
        with open(os.path.join(TOP, path), "w", encoding="ascii") as stream:
            stream.write(value)
    except OSError as exc:
        hint = "Check that /proc/sys is writable, which it is not in a container."
        raise EngineError(f"Cannot set the sysctl {path} to {value}: {reason_of(exc)}.", hint=hint) from exc


def write_all(values: t.Mapping[str, str]) -> None:
    """Raises EngineError."""
    for path, value in values.items():
        write(path, value)


def _read(path: str) -> str | None:
    text = read_text(os.path.join(TOP, path))
    return None if text is None else text.strip()
