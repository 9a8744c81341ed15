# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the sysctls to write for forwarding and those to restore, with all that the kernel changes along."""

from __future__ import annotations

import os
import typing as t

from .._base.files import read_text, split_lines
from .forwarding import IPV4, IPV6, TOP, differing, main_of, read_one

_REDIRECTS = "net/ipv4/conf/all/accept_redirects"
_FROM_ROUTER, _DEFAULT = 0x40000, "0" * 32  # RTF_ADDRCONF; in /proc/net/ipv6_route


def to_change(wanted: t.Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return old and new values by path, in the order in which to write them: those of differing(), and of all sysctls
    that change with them. The new value is empty for a sysctl that the kernel changes itself."""
    found = {path: (is_ or "", value) for path, (is_, value) in differing(wanted).items()}
    links = {path: read_one(path) or "0" for main in found for path in _along(main)}
    found.update({path: (value, "") for path, value in links.items() if value != "0"})
    if IPV4 in found:
        found[_REDIRECTS] = (read_one(_REDIRECTS) or "", "")
    if IPV6 in found:
        for link in _learned():
            path = f"net/ipv6/conf/{link}/accept_ra"
            if read_one(path) == "1":
                # Write this first: with forwarding and accept_ra=1, the kernel removes the route.
                found = {path: ("1", "2"), **found}
    return found


def _along(main: str) -> list[str]:
    """Return the sysctls of links that the kernel sets when ``main`` is written (devinet.c, addrconf.c)."""
    top = {IPV4: "net/ipv4/conf", IPV6: "net/ipv6/conf"}.get(main)
    links = os.listdir(os.path.join(TOP, top)) if top else []
    return [f"{top}/{link}/forwarding" for link in links if link != "all"]


def _learned() -> set[str]:
    """Return the links with an IPv6 default route that a router has announced."""
    # The name of a link may have any character but / and blanks.
    lines = [[*filter(None, line.split(" "))] for line in split_lines(read_text("/proc/net/ipv6_route") or "")]
    return {words[-1] for words in lines if words[:2] == [_DEFAULT, "00"] and int(words[-2], 16) & _FROM_ROUTER}


def to_restore(
    changed: t.Mapping[str, tuple[str, str]], wanted: t.Mapping[str, str], others_forward: bool
) -> dict[str, str]:
    """Return the old values to restore by path, in the order in which to write them. ``changed``: old and new value by
    path of the sysctls that were changed since the boot.

    ``others_forward``: other programs have rules for forwarding. It stays enabled then, because they may depend on it.
    """
    stays = {*wanted, *((IPV4, IPV6) if others_forward else ())}
    mains = [
        path for path in changed if path == main_of(path) and path not in stays and read_one(path) in changed[path]
    ]
    # Then the sysctls that the kernel changed with them, unless another program has changed them since.
    along = [path for path in changed if path != main_of(path) and main_of(path) in mains]
    along = [path for path in along if read_one(path) is not None and changed[path][1] in ("", read_one(path))]
    return {path: changed[path][0] for path in (*mains, *along)}
