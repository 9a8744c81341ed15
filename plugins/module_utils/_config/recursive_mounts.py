# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse recursive options of mounts (rro and so on) that an old runtime does not know. It passes them to the kernel as data, which
ignores them."""

from __future__ import annotations

import os
import typing as t

from .._base import mountinfo
from .._base.errors import MissingPrerequisite
from .._base.versions import numbers

Config = dict[str, t.Any]
# Those that forbid something, and their opposites, which a mount has anyway.
_LIMITS = ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "strictatime")
_OTHERS = ("rw", "suid", "dev", "exec", "atime", "diratime", "norelatime", "nostrictatime")
WORDS = {f"r{word}": word for word in (*_LIMITS, *_OTHERS)}


def check(config: t.Mapping[str, t.Any], runtime: str, version: str, since: t.Sequence[int]) -> None:
    """Raise MissingPrerequisite for a mount with such an option if its plain form is not there too, or if something is mounted
    below the source. In both cases the option would have no effect.

    ``since``: the first release of this runtime that knows the options, or nothing if that is not known.
    """
    if since and numbers(version) >= tuple(since):
        return
    for mount in config.get("mounts") or []:
        options = mount.get("options") or ()
        found = sorted(word for word in options if word in WORDS)
        if not found:
            continue
        alone = [word for word in found if WORDS[word] in _LIMITS and WORDS[word] not in options]
        below = f"{os.path.realpath(str(mount.get('source'))).rstrip('/')}/"
        if alone or any(each.place.startswith(below) and each.place != below for each in mountinfo.read()):
            word = (alone or found)[0]
            what = f"{mount.get('source')} itself" if alone else f"file systems below {mount.get('source')}"
            effect = "read-only" if word == "rro" else "changed"
            knows, would = ("does not", "would") if since else ("may not", "might")
            newer = f"{runtime} {'.'.join(map(str, since))} or newer, or " if since else ""
            raise MissingPrerequisite(
                f"{runtime} {version} {knows} know the option {word} of the mount at {mount.get('destination')}, so {what} {would} "
                f"not be {effect}.",
                hint=f"Use {newer}{WORDS[word]} with bind.",
            )


def fitted(config: Config, since: t.Sequence[int]) -> Config:
    """Return the config for a runtime. One that is not known may refuse these options, such as runsc: it gets the plain form
    alone where that is there too, which does the same if nothing is mounted below."""
    if since:
        return config
    mounts = []
    for mount in config.get("mounts") or []:
        options = mount.get("options") or []
        kept = [word for word in options if WORDS.get(word) not in options]
        mounts.append(mount if kept == options else {**mount, "options": kept})
    return {**config, "mounts": mounts} if mounts else config
