# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The capabilities of Linux: their names, and the names that a task may give them."""

from __future__ import annotations

import typing as t

from .errors import InvalidOption

# linux/capability.h, in the order of their numbers.
_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = tuple(f"CAP_{name}" for name in _NAMES.split())
ALL = "ALL"


def full_names(names: t.Iterable[str], *, all_allowed: bool = False) -> list[str]:
    """Return the names with ``CAP_``, in capitals; ``ALL`` stays as it is where it is allowed. Raises InvalidOption for another."""
    found = []
    for name in names:
        # Letters of other scripts may have ASCII capitals.
        capitals = name.upper() if name.isascii() else ""
        full = capitals if capitals == ALL or capitals.startswith("CAP_") else f"CAP_{capitals}"
        if full not in CAPABILITIES and not (all_allowed and full == ALL):
            raise InvalidOption(f"There is no capability {name!r}.", hint=_hint(full, all_allowed))
        found.append(full)
    return found


def _hint(full: str, all_allowed: bool) -> str:
    import difflib

    known = [*(name[4:] for name in CAPABILITIES), *([ALL] if all_allowed else [])]
    near = difflib.get_close_matches(full.replace("CAP_", "").strip(), known, n=1)  # CAP_ alone is like any of them.
    return f"Did you mean {near[0]}?" if near else "See capabilities(7); NET_ADMIN is one."


def bounding(status: str) -> list[str]:
    """Return all that a process may ever have (CapBnd), from the text of /proc/PID/status. A child can have no more."""
    line = next((line for line in status.split("\n") if line.startswith("CapBnd:")), "CapBnd: 0")
    mask = int(line.split()[1], 16)
    return [name for number, name in enumerate(CAPABILITIES) if mask >> number & 1]


def known_to(last: str | None) -> tuple[str, ...]:
    """Return those that a kernel has, from the text of /proc/sys/kernel/cap_last_cap; all where that is missing."""
    return CAPABILITIES[: int(last) + 1] if last else CAPABILITIES
