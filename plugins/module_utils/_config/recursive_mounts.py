# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse recursive options of mounts (rro and so on) that an old runtime does not know. It passes them to the kernel as data, which
ignores them."""

from __future__ import annotations

import typing as t

from .._base import mountinfo
from .._base.errors import MissingPrerequisite
from .._base.versions import numbers

# The first releases that know them (#365dc57 in crun, #3272 in runc).
SINCE = {"crun": (1, 4), "runc": (1, 1)}
WORDS = {
    f"r{word}"
    for word in [
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
    ]
}


def check(config: t.Mapping[str, t.Any], runtime: str, version: str) -> None:
    """Raises MissingPrerequisite if something is mounted below the source of such a mount. Otherwise the option has no effect."""
    if numbers(version) >= SINCE.get(runtime, (0,)):
        return
    for mount in config.get("mounts") or []:
        found = sorted(WORDS & {*(mount.get("options") or ())})
        below = f"{str(mount.get('source')).rstrip('/')}/"
        if found and any(each.place.startswith(below) for each in mountinfo.read()):
            raise MissingPrerequisite(
                f"{runtime} {version} does not know the option {found[0]} of the mount at {mount.get('destination')}, so file systems "
                f"below {mount.get('source')} would not be {'read-only' if found[0] == 'rro' else 'changed'}.",
                hint=f"Use {runtime} {'.'.join(map(str, SINCE[runtime]))} or newer, or ro with bind.",
            )
