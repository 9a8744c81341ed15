# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse limits whose cgroup controller a host does not have: a runtime only names a file that is not there."""

from __future__ import annotations

import typing as t

from .._base.errors import MissingPrerequisite

# By controller of cgroup v2: the part of linux.resources, its values that need the controller, and the option to remove.
_NEEDS = (
    ("memory", "memory", ("limit", "reservation", "swap"), "memory"),
    ("cpu", "cpu", ("shares", "quota"), "cpus or cpu_shares"),
    ("cpuset", "cpu", ("cpus", "mems"), "cpuset_cpus"),
    ("pids", "pids", ("limit",), "pids_limit"),
    ("io", "blockIO", ("weight", "weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice",
                       "throttleReadIOPSDevice", "throttleWriteIOPSDevice"), "blockIO in spec"),
)  # fmt: skip


def lacking(config: t.Mapping[str, t.Any], found: set[str] | None) -> list[tuple[str, str]]:
    """Return the controllers that the limits of a config need and that are not ``found``, with the options for these limits. Pure."""
    resources = (config.get("linux") or {}).get("resources") or {}
    return [
        (name, options) for name, part, values, options in _NEEDS
        if found is not None and name not in found and any(map(_is_limit, map((resources.get(part) or {}).get, values)))
    ]  # fmt: skip


def _is_limit(value: t.Any) -> bool:
    """Tell whether a value is one that no cgroup has without a controller. -1 means no limit."""
    return value > 0 if isinstance(value, int) else bool(value)


def check(config: t.Mapping[str, t.Any], uid: int, found: set[str] | None) -> None:
    """Raise MissingPrerequisite for a limit whose controller the cgroups of this user do not have."""
    for name, options in lacking(config, found):
        hint = f"Remove {options}, or enable the controller: with the kernel parameter cgroup_enable={name}, or outside of this host."
        if uid != 0:
            hint = (
                f"Remove {options}, or let systemd delegate it, as root: Delegate={name} in a drop-in of user@.service."
            )
        whose = "this host" if uid == 0 else f"the user {uid}"
        raise MissingPrerequisite(
            f"The cgroups of {whose} have no {name} controller, so {options} cannot be limited.", hint=hint
        )
