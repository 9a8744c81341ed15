# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what in a config the host has decided, and not a task. Pure.

A package with another seccomp profile, or a kernel with more capabilities, changes the config of every bundle of a host. A container
gets that when it is created again, but it is no reason to do so. ``oci_bundle`` notes in a config what its task asked for.
"""

from __future__ import annotations

import typing as t

from .._config.config import DEVICES, Config
from .._config.config_differences import ASKED, differences
from .._config.namespaces import entries_of

_PARTS = (
    "linux.seccomp", "linux.devices", "linux.resources.devices", "linux.resources.pids", "linux.resources.memory.swap",
    "process.capabilities", "process.rlimits", "process.apparmorProfile",
)  # fmt: skip
_RESOLV_CONF = "[/etc/resolv.conf]"  # Its source depends on how the host resolves names.

Differences = dict[str, tuple[t.Any, t.Any]]


def split(before: Config, after: Config, found: Differences) -> tuple[Differences, list[str]]:
    """Return the ``found`` differences of two configs, without those of facts of the host, and the parts that have these.

    A change by hand of such a part counts as one of the host.
    """
    asked = [(config.get("annotations") or {}).get(ASKED) for config in (before, after)]
    if asked[0] is None or asked[0] != asked[1]:
        return {key: pair for key, pair in found.items() if key != f"config.annotations.{ASKED}"}, []
    one, other = (_by_place(config) for config in (before, after))
    every, own = differences(one, other), differences(_without(one), _without(other))
    parts = (*_PARTS, "linux.namespaces", "mounts")
    names = [part for part in parts if any(key.startswith(part) for key in every.keys() - own.keys())]
    return {f"config.{key}": pair for key, pair in own.items()}, names


def _by_place(config: Config) -> Config:
    """Return the config with its mounts by their places: a new one is a single difference. Where its devices are is not compared."""
    annotations = {name: text for name, text in (config.get("annotations") or {}).items() if name != DEVICES}
    return {
        **config,
        "annotations": annotations,
        "mounts": {f"[{each.get('destination')}]": each for each in config.get("mounts") or []},
    }


def _without(config: Config) -> Config:
    """Return a config by places without all that depends on facts of the host."""
    found = config
    for part in _PARTS:
        found = _removed(found, part.split("."))
    linux = dict(found.get("linux") or {})
    linux["namespaces"] = [each for each in entries_of(found) if each.get("type") != "cgroup"]
    mounts = {
        place: {**each, "options": _plain(each.get("options") or [])}
        for place, each in found["mounts"].items()
        if place != _RESOLV_CONF
    }
    return {**found, "linux": linux, "mounts": mounts}


def _removed(config: Config, path: list[str]) -> Config:
    """Return the object without the value at a path."""
    name, *more = path
    if not more or not isinstance(config.get(name), dict):
        return {key: value for key, value in config.items() if more or key != name}
    return {**config, name: _removed(config[name], more)}


def _plain(options: list[str]) -> list[str]:
    """Return the options of a mount without recursive ones beside their plain forms, which only some kernels know."""
    return [word for word in options if not (word.startswith("r") and word[1:] in options)]
