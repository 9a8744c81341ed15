# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide the actions for a bundle. Pure, and the same with and without check mode."""

from __future__ import annotations

import typing as t

from .options import Action, BundleRecord, Plan, Source

Differences = t.Mapping[str, tuple[t.Any, t.Any]]


def plan(
    *, record: BundleRecord, source: Source, root: str, root_is_there: bool, is_mounted: bool,
    overlay: bool, config: Differences, files_differ: bool,
) -> Plan:  # fmt: skip
    """Return the plan. ``record`` is empty for an incomplete bundle, ``config`` has the differences of config.json.

    With every change, a bundle gets a new root file system, as a recreated container does in podman. The new container does
    not see files that the old one wrote, which may include settings from its first start.
    """
    actions = [] if source.cached else [Action.PULL]
    differences = dict(config)
    for name, pair in changes(record, source, overlay).items():
        differences[name] = pair
    if record.root != root or not root_is_there:
        actions.append(Action.ROOTFS)
        differences.pop("root.path", None)  # Only the name differs.
    elif overlay and not is_mounted:
        actions.append(Action.MOUNT)
    if differences or files_differ or Action.ROOTFS in actions:
        actions.append(Action.CONFIG)
    return Plan(tuple(actions), root, differences)


def changes(record: BundleRecord, source: Source, overlay: bool) -> dict[str, tuple[t.Any, t.Any]]:
    """Return the differences between the requested and the recorded source of a bundle."""
    before, after = record.image or {}, source.image or {}
    pairs = {f"image.{key}": (before.get(key), after.get(key)) for key in ("reference", "digest", "platform")}
    pairs["rootfs_digest"] = (record.rootfs_digest, source.digest)
    pairs["rootfs_mode"] = (record.rootfs_mode, "overlay" if overlay else "copy")
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def by_place(document: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the config with mounts by destination, so that a new one is a single difference. The order is fixed."""
    mounts = document.get("mounts") or []
    return {**document, "mounts": {f"[{mount.get('destination')}]": mount for mount in mounts}}
