# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The config of a container that comes back from a checkpoint: on this host, within what this host allows."""

from __future__ import annotations

import os
import typing as t

from .._archive import default_config, rights
from .._base.errors import InvalidOption
from .._config import config
from .._config.namespaces import PEER, namespaces_of
from .._state.model import Definition, Record
from .._state.store import Store
from .._trust.annotations import from_outside
from .checkpoint_store import MANAGER, Stored

# The files that podman mounts from its own directories, and whether each is a directory. A container from podman gets them
# from the state directory.
PODMAN_MOUNTS = {
    "/dev/shm": True, "/run/secrets": True, "/etc/hosts": False, "/etc/hostname": False, "/etc/resolv.conf": False,
    "/run/.containerenv": False,
}  # fmt: skip


def restore_config(
    store: Store, name: str, source: Stored, definition: Definition, known: Record | None, *, bundle_given: bool,
    trusted: bool,
) -> dict[str, t.Any]:  # fmt: skip
    """Return the config for the restore: that of this host for a container from an archive, otherwise its former one.

    ``bundle_given``: the task names the bundle. ``trusted``: take the config out of an archive. Raises InvalidOption.
    """
    if not source.is_foreign or trusted:
        return _localise(store, name, source, definition, bundle_given=bundle_given)
    if not definition.bundle.startswith("/"):
        raise InvalidOption(f"The bundle {definition.bundle} must be given as an absolute path.")
    saved = store.load_config(name) if known and not bundle_given else None
    if saved or os.path.exists(f"{definition.bundle}/config.json"):
        return saved or config.read_bundle(definition.bundle)

    def generated(mount: t.Mapping[str, t.Any]) -> bool:
        return _is_podmans(mount) and source.manifest.definition is None

    within = default_config.within(source.spec, f"{definition.bundle}/rootfs", generated=generated)
    kept = from_outside(source.spec.get("annotations"))
    mounts = [_mount(store, name, mount, from_podman=True) for mount in within["mounts"]]
    return {**within, "mounts": mounts, "annotations": kept}


def agreed(asked: dict[str, t.Any], here: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the config of this host, with additional limits of the checkpoint. Raises InvalidOption if the checkpoint has more
    rights, or does not fit."""
    more = rights.excess(asked, here)
    if more:
        hint = "To allow it, change the config.json of the bundle."
        raise InvalidOption(f"The checkpoint asks for more than the bundle allows: {rights.named(more)}.", hint=hint)
    other = rights.differences(asked, here)
    if other:
        hint = "The bundle must have the same mounts and namespaces as the original bundle of the container."
        raise InvalidOption(f"The checkpoint does not fit the bundle: {rights.named(other)}.", hint=hint)
    linux = dict(here["linux"])
    for name in ("maskedPaths", "readonlyPaths"):  # CRIU needs them, because they are mounts.
        paths = (asked.get("linux") or {}).get(name) or []
        linux[name] = list(
            dict.fromkeys([*(linux.get(name) or []), *(p for p in paths if p.startswith("/") and ".." not in p)])
        )
    readonly = bool(here["root"].get("readonly") or asked["root"].get("readonly"))
    return {**here, "root": {**here["root"], "readonly": readonly}, "linux": linux}


def _localise(
    store: Store, name: str, source: Stored, definition: Definition, *, bundle_given: bool
) -> dict[str, t.Any]:  # fmt: skip
    """Return the config of the checkpoint, with the root file system and the mount sources of this host."""
    spec = dict(source.spec)
    if not isinstance(spec.get("root"), dict) or not isinstance(spec.get("process"), dict):
        raise InvalidOption("The checkpoint contains no valid config of a container (spec.dump).")
    if source.is_foreign:
        spec["annotations"] = from_outside(spec.get("annotations"))
    elif source.manifest.annotated:
        spec["annotations"] = {k: v for k, v in (spec.get("annotations") or {}).items() if k != MANAGER}
    if bundle_given:
        root = f"{definition.bundle}/rootfs"
        if os.path.exists(f"{definition.bundle}/config.json"):
            root = config.read_bundle(definition.bundle)["root"]["path"]
        elif not definition.bundle.startswith("/"):
            raise InvalidOption(f"The bundle {definition.bundle} must be given as an absolute path.")
        spec["root"] = {**spec["root"], "path": root}
    from_podman = source.manifest.definition is None
    spec["mounts"] = [_mount(store, name, mount, from_podman=from_podman) for mount in spec.get("mounts") or []]
    for kind, path in namespaces_of(spec).items():
        if path and not path.startswith(PEER) and not os.path.exists(path):
            raise InvalidOption(
                f"The container is in the {kind} namespace {path}, which does not exist on this host.",
                hint="Create it first. For a network namespace, use oci_network.",
            )
    return spec


def _mount(store: Store, name: str, mount: t.Mapping[str, t.Any], *, from_podman: bool) -> dict[str, t.Any]:
    where, source = str(mount.get("destination")), str(mount.get("source") or "")
    if not rights.is_bind(mount) or where == config.NOTIFY_DIRECTORY:
        return dict(mount)
    if from_podman and _is_podmans(mount):
        return {**mount, "source": f"{store.paths(name).state}/mounts{where}"}
    if os.path.exists(source):
        return dict(mount)
    hint = "Create it with the content that the container expects."
    raise InvalidOption(f"The container has {source} mounted at {where}, which does not exist on this host.", hint=hint)


def _is_podmans(mount: t.Mapping[str, t.Any]) -> bool:
    return mount.get("destination") in PODMAN_MOUNTS and "/userdata/" in str(mount.get("source"))
