# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What our things are called: the same on every run, after a reboot too, so that each is known without any record.

All of them depend on the state directory. So two installations on a host do not take what belongs to the other.
"""

from __future__ import annotations

import hashlib

DEFAULT_STATE_DIR, TABLE = "/var/lib/longshore", "longshore"


def host_interface(state_dir: str, name: str, interface: str) -> str:
    """The end of the cable on the host."""
    return "ls-" + _hash(state_dir, name, interface)[:12]


def alias(name: str, interface: str) -> str:
    """Of that end: what ``ip link`` shows to people, and what is left of an interface that no record has any more."""
    return f"longshore {name} {interface}"


def is_of(state_dir: str, name: str, link: str, text: str | None) -> str | None:
    """The interface of the network whose end on the host a link with this name and alias is."""
    front, _space, interface = (text or "").rpartition(" ")
    ours = front == f"longshore {name}" and link == host_interface(state_dir, name, interface)
    return interface if ours else None


def table(state_dir: str) -> str:
    """Of nftables."""
    return TABLE if state_dir == DEFAULT_STATE_DIR else f"{TABLE}-{_hash(state_dir)[:8]}"


def bridge_mac(state_dir: str, bridge: str) -> str:
    """A bridge that has it is ours: it gets it as it is made, so there is no moment at which that could not be told."""
    return mac(state_dir, "bridge", bridge)


def mac(*parts: str) -> str:
    """A local one, the same every time: the neighbours remember it."""
    return _mac("02", *parts)


def host_mac(state_dir: str, name: str, interface: str) -> str:
    """Of the end on the host. High, for a bridge without an address of its own takes the lowest of its ports."""
    return _mac("fe", state_dir, name, interface)


def _mac(first: str, *parts: str) -> str:
    digits = _hash(*parts)
    return ":".join([first, *(digits[at : at + 2] for at in range(0, 10, 2))])


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
