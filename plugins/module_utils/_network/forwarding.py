# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sysctls the host needs to forward packets for networks, and how they get to what they were."""

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
    """Values by their path below /proc/sys. ``bridges``: those that are, or are to be, on the host. A pure function."""
    found = {}
    for record in records:
        leads_to = targets(record) if record["publish"] else {}
        for interface, address in forwarded(record):
            opened = record.get("routed") or not record.get("isolate", True)
            if record["masquerade"] or opened or address in [each for _interface, each in leads_to.values()]:
                found[IPV4 if family(address) == 4 else IPV6] = "1"
            if (interface, address) == leads_to.get(4) and not interface["foreign"] and interface["bridge"] in bridges:
                # For clients on this host that ask 127.0.0.1; the table lets no neighbour make use of it.
                found[f"net/ipv4/conf/{interface['bridge']}/route_localnet"] = "1"
    return found


def read(paths: t.Iterable[str]) -> dict[str, str]:
    """Those that there are."""
    found = {path: _read(path) for path in paths}
    return {path: value for path, value in found.items() if value is not None}


def differing(wanted: t.Mapping[str, str]) -> dict[str, tuple[str | None, str]]:
    """Those that are otherwise: what they are (None where there is no such sysctl yet), and what they shall be."""
    found = {path: (_read(path), value) for path, value in wanted.items()}
    return {path: pair for path, pair in found.items() if pair[0] != pair[1]}


def to_change(wanted: t.Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """As differing(), with what goes along, in the order in which it is to be written. The new value of what the kernel changes
    itself is empty."""
    found = {path: (is_ or "", value) for path, (is_, value) in differing(wanted).items()}
    links = {path: _read(path) or "0" for main in found for path in _along(main)}
    found.update({path: (value, "") for path, value in links.items() if value != "0"})
    if IPV4 in found:
        found[_REDIRECTS] = (_read(_REDIRECTS) or "", "")
    if IPV6 in found:
        for link in _learned():
            path = f"net/ipv6/conf/{link}/accept_ra"
            if _read(path) == "1":
                # First: the route would be gone with the other one.
                found = {path: ("1", "2"), **found}
    return found


def _along(main: str) -> list[str]:
    """What the kernel sets for all links when it is told to forward, or not to (devinet.c, addrconf.c)."""
    top = {IPV4: "net/ipv4/conf", IPV6: "net/ipv6/conf"}.get(main)
    links = os.listdir(os.path.join(TOP, top)) if top else []
    return [f"{top}/{link}/forwarding" for link in links if link != "all"]


def _learned() -> set[str]:
    """Links whose default route a router has announced."""
    lines = [line.split() for line in (read_text("/proc/net/ipv6_route") or "").splitlines()]
    return {words[-1] for words in lines if words[:2] == [_DEFAULT, "00"] and int(words[-2], 16) & _FROM_ROUTER}


def _main(path: str) -> str:
    """What a sysctl was changed along with."""
    if path.endswith("/route_localnet"):
        return path
    return IPV6 if path.startswith("net/ipv6/") else IPV4


def is_kept(path: str, wanted: t.Mapping[str, str]) -> bool:
    """Whether what we have changed is still needed."""
    return _main(path) in wanted


def to_restore(
    changed: t.Mapping[str, tuple[str, str]], wanted: t.Mapping[str, str], others_forward: bool
) -> dict[str, str]:
    """Old values that shall be back, in the order in which they are to be written. ``changed``: old and new value by path, of what
    we changed since the boot.

    Forwarding stays on where somebody else has rules about it: they may have come to count on it.
    """
    stays = {*wanted, *((IPV4, IPV6) if others_forward else ())}
    mains = [path for path in changed if path == _main(path) and path not in stays and _read(path) in changed[path]]
    # Then what the kernel has changed with them, unless somebody has changed it again.
    along = [path for path in changed if path != _main(path) and _main(path) in mains]
    along = [path for path in along if _read(path) is not None and changed[path][1] in ("", _read(path))]
    return {path: changed[path][0] for path in (*mains, *along)}


def write(path: str, value: str) -> None:
    """Raises EngineError."""
    try:
        with open(os.path.join(TOP, path), "w", encoding="ascii") as stream:
            stream.write(value)
    except OSError as exc:
        hint = "Is /proc/sys writable, or is this host a container itself?"
        raise EngineError(f"Cannot set the sysctl {path} to {value}: {reason_of(exc)}.", hint=hint) from exc


def write_all(values: t.Mapping[str, str]) -> None:
    """Raises EngineError."""
    for path, value in values.items():
        write(path, value)


def _read(path: str) -> str | None:
    text = read_text(os.path.join(TOP, path))
    return None if text is None else text.strip()
