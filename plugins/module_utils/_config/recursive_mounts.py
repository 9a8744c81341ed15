# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse recursive options of mounts (rro and so on) that an old runtime does not know. It passes them to the kernel as data, which
ignores them."""

from __future__ import annotations

import typing as t

from .._base import mountinfo
from .._base.errors import MissingPrerequisite
from .._base.versions import numbers

WORDS = {
    "rro", "rrw", "rsuid", "rnosuid", "rdev", "rnodev", "rexec", "rnoexec", "ratime", "rnoatime", "rdiratime", "rnodiratime",
    "rrelatime", "rnorelatime",
}  # fmt: skip


def check(config: t.Mapping[str, t.Any], runtime: str, version: str, since: t.Sequence[int]) -> None:
    """Raise MissingPrerequisite if something is mounted below the source of such a mount. Otherwise the option has no effect.

    ``since``: the first release of this runtime that knows the options.
    """
    if numbers(version) >= tuple(since):
        return
    for mount in config.get("mounts") or []:
        found = sorted(WORDS & {*(mount.get("options") or ())})
        below = f"{str(mount.get('source')).rstrip('/')}/"
        if found and any(each.place.startswith(below) for each in mountinfo.read()):
            raise MissingPrerequisite(
                f"{runtime} {version} does not know the option {found[0]} of the mount at {mount.get('destination')}, so file systems "
                f"below {mount.get('source')} would not be {'read-only' if found[0] == 'rro' else 'changed'}.",
                hint=f"Use {runtime} {'.'.join(map(str, since))} or newer, or ro with bind.",
            )
