# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a config the numbers that the devices of its host have now.

A name such as /dev/disk/by-id/... stays, and its number may be another one after each boot. ``oci_bundle`` notes in an annotation of
the config which device of the host it means, and each launch looks again. A config without that has fixed numbers.
"""

from __future__ import annotations

import json
import os
import stat
import typing as t

from .._base.errors import InvalidOption, reason_of
from .._config.config import DEVICES, Config

Numbers = tuple[t.Any, t.Any, t.Any]  # type, major, minor
NOTHING = (0, 0)  # the numbers of no device
_KEYS = ("type", "major", "minor")


class Source(t.NamedTuple):
    """A device of the host. One that was found in a directory may be missing when it has been unplugged."""

    path: str
    optional: bool = False


def sources(config: Config) -> dict[str, Source]:
    """Return the devices of the host by their paths in the container. An annotation that is not from oci_bundle has none."""
    try:
        found = json.loads((config.get("annotations") or {}).get(DEVICES) or "{}")
    except (TypeError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    lists = {place: path if isinstance(path, list) else [path] for place, path in pairs}
    return {
        place: Source(path[0], optional=path is found[place])
        for place, path in lists.items()
        if len(path) == 1 and isinstance(path[0], str) and path[0].startswith("/")
    }


def resolved(config: Config, *, strict: bool = True) -> Config:
    """Return the config with present numbers. Raises InvalidOption for a device that is not there; without ``strict``, it keeps
    its number. Of one that may be missing, the node stays and is of no device."""
    named, linux = sources(config), config.get("linux") or {}
    changed: dict[Numbers, list[Numbers]] = {}
    devices = []
    for device in linux.get("devices") or []:
        source = named.get(str(device.get("path")))
        now = source and _numbers(source, device, strict=strict)
        if now is not None:
            before = numbers_of(device)
            changed[before] = [*changed.get(before, []), now]
            device = {**device, **dict(zip(_KEYS, now))}
        devices.append(device)
    if not changed:
        return config
    resources = dict(linux.get("resources") or {})
    rules = []
    for rule in resources.get("devices") or []:  # One that two devices had is for both of them.
        rules += [{**rule, **dict(zip(_KEYS, now))} for now in dict.fromkeys(changed.get(numbers_of(rule), []))] or [
            rule
        ]
    if rules:
        resources["devices"] = rules
    return {**config, "linux": {**linux, "devices": devices, "resources": resources}}


def numbers_of(device: t.Mapping[str, t.Any]) -> Numbers:
    """Return the numbers of a device, or of a rule for it."""
    kind, major, minor = map(device.get, _KEYS)
    return kind, major, minor


def _numbers(source: Source, device: t.Mapping[str, t.Any], *, strict: bool) -> Numbers | None:
    path = source.path
    try:
        found = os.stat(path)
    except OSError as exc:
        if source.optional and strict:
            return (device.get("type"), *NOTHING)
        if strict:
            raise InvalidOption(f"The device {path} cannot be used: {reason_of(exc)}.") from exc
        return None
    if not stat.S_ISCHR(found.st_mode) and not stat.S_ISBLK(found.st_mode):
        if strict:
            raise InvalidOption(f"{path} is not a device.")
        return None
    return "c" if stat.S_ISCHR(found.st_mode) else "b", os.major(found.st_rdev), os.minor(found.st_rdev)
