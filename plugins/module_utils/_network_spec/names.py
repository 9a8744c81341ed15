# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of Longshore's objects. They are the same in every run and after a reboot, so no record is needed to find them.

All of them depend on the state directory, so that two installations on a host do not use the same names.
"""

from __future__ import annotations

import hashlib

DEFAULT_STATE_DIR, TABLE = "/var/lib/longshore", "longshore"


def host_interface(state_dir: str, name: str, interface: str) -> str:
    """Return the name of the end of the veth pair on the host."""
    return "ls-" + _hash(state_dir, name, interface)[:12]


def alias(name: str, interface: str) -> str:
    """Return the alias of that end. ``ip link`` shows it, and it identifies an interface that is in no record."""
    return f"longshore {name} {interface}"


def is_of(state_dir: str, name: str, link: str, text: str | None) -> str | None:
    """Return the interface of the network to which a link on the host with this name and alias belongs, or None."""
    front, _space, interface = (text or "").rpartition(" ")
    ours = front == f"longshore {name}" and link == host_interface(state_dir, name, interface)
    return interface if ours else None


def table(state_dir: str) -> str:
    """Return the name of the nftables table."""
    return TABLE if state_dir == DEFAULT_STATE_DIR else f"{TABLE}-{_hash(state_dir)[:8]}"


def bridge_mac(state_dir: str, bridge: str) -> str:
    """Return the MAC address of a bridge of Longshore. It identifies the bridge from the moment of its creation."""
    return mac(state_dir, "bridge", bridge)


def mac(*parts: str) -> str:
    """Return a local MAC address. It is always the same, because neighbours cache it."""
    return _mac("02", *parts)


def host_mac(state_dir: str, name: str, interface: str) -> str:
    """Return the MAC address of the end on the host. It is high, because a bridge without its own address uses the lowest one of
    its ports."""
    return _mac("fe", state_dir, name, interface)


def _mac(first: str, *parts: str) -> str:
    digits = _hash(*parts)
    return ":".join([first, *(digits[at : at + 2] for at in range(0, 10, 2))])


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
