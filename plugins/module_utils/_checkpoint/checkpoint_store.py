# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stored checkpoints: directories in the state directory with the members of an archive, and a manifest that comes last.

A directory without a manifest belongs to a failed dump, or to a killed task. The manifest is renamed into place last, so a
checkpoint is either complete or does not count.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import typing as t

from .._archive import archive, typed_documents
from .._archive.layout import MANIFEST
from .._base.files import make_directory, read_json, remove_file, write_text
from .._state import config
from .._state.model import Record
from .._state.store import Store
from .._state.unfinished import PENDING, WORK, discard, own_name

FORMAT = 1
MANAGER = "io.container.manager"
_PODMAN = "io.podman.annotations.checkpoint."


class Stored(t.NamedTuple):
    """A complete checkpoint: its directory, Longshore's manifest, and the config of its container."""

    path: str
    manifest: dict[str, t.Any]
    spec: dict[str, t.Any]

    @property
    def is_foreign(self) -> bool:
        """Tell whether it comes from an archive of any origin. This stays true for a kept checkpoint."""
        return bool(self.manifest.get("from_archive"))


def _stored(path: str, manifest: dict[str, t.Any]) -> Stored:
    if not manifest.get("from_archive"):
        return Stored(path, manifest, read_json(f"{path}/spec.dump") or {})
    text = archive.read(f"{path}/spec.dump")
    return Stored(path, manifest, typed_documents.spec(typed_documents.parse(text, "spec.dump", path), path))


def _top(store: Store, name: str) -> str:
    return f"{store.paths(name).state}/checkpoints"


def newest(store: Store, name: str) -> Stored | None:
    """Return the checkpoint of a container: the one that ended it, otherwise the newest complete one. Never one from which it was
    restored and that is to be removed."""
    top, record = _top(store, name), store.load(name)
    own = record.checkpoint.path if record and record.checkpoint else ""
    if record and own and record.phase in ("checkpointed", "restoring"):
        manifest = read_json(f"{own}/{MANIFEST}")
        return None if manifest is None else _stored(own, manifest)
    used = own if record and record.phase != "checkpointing" else ""
    names = sorted(os.listdir(top), reverse=True) if os.path.isdir(top) else []
    for entry in names:
        manifest = read_json(f"{top}/{entry}/{MANIFEST}")
        if manifest is not None and not entry.startswith(".") and f"{top}/{entry}" != used:
            return _stored(f"{top}/{entry}", manifest)
    return None


def work_directory(store: Store, name: str) -> str:
    """Create a temporary directory, which does not count as a checkpoint. If a task is killed, the next one removes it."""
    make_directory(_top(store, name), mode=0o700)
    path = f"{_top(store, name)}/{own_name(WORK)}"
    make_directory(path, mode=0o700)
    return path


def keep(store: Store, name: str, source: Stored) -> Stored:
    """Turn a work directory into a checkpoint."""
    if not os.path.basename(source.path).startswith(WORK):
        return source
    path = _named(store, name, str(source.manifest.get("created_at") or "unknown"))
    os.rename(source.path, path)
    return source._replace(path=path)


def leave(store: Store, name: str) -> None:
    """Remove the empty directories for checkpoints of a container without a record."""
    with contextlib.suppress(OSError):
        os.rmdir(_top(store, name))
        os.rmdir(store.paths(name).state)


def new_directory(store: Store, name: str, moment: str) -> str:
    """Create an empty directory for root only, because memory contains secrets. Names sort by time (``moment`` is RFC 3339)."""
    make_directory(_top(store, name), mode=0o700)
    path = _named(store, name, moment)
    make_directory(path, mode=0o700)
    return path


def _named(store: Store, name: str, moment: str) -> str:
    # No colons: crun treats the part before one in the path of a log as its type. No dot in front: that is not a checkpoint.
    return f"{_top(store, name)}/{re.sub('[^0-9A-Za-z.]', '', moment).lstrip('.')}-{os.urandom(4).hex()}"


def prune(store: Store, name: str, *, keep: str | None) -> None:
    """Remove all checkpoints of a container except one, also incomplete ones, but none of a running task (unfinished.py)."""
    top = _top(store, name)
    for entry in os.listdir(top) if os.path.isdir(top) else []:
        if f"{top}/{entry}" != keep and not entry.startswith("."):
            discard(f"{top}/{entry}")
    with contextlib.suppress(OSError):
        os.rmdir(top)


def describe_before(path: str, record: Record, spec: t.Mapping[str, t.Any], known: t.Mapping[str, t.Any]) -> None:
    """Write the facts from before the dump. ``known`` has created_at, criu, options, and the data to complete a killed dump."""
    moment = str(known["created_at"])
    launched = {k: v for k, v in record.definition._asdict().items() if k != "conmon_env"}  # Secrets are not stored.
    manifest = {
        "format": FORMAT, "name": record.name, **known, "runtime": record.runtime._asdict(),
        "kernel": platform.release(), "architecture": platform.machine(), "definition": launched,
        "config_digest": record.config_digest, "stop_signal": record.stop_signal, "stop_timeout": record.stop_timeout,
        "started_at": record.started_at, "rootfs": None, "annotated": MANAGER not in (spec.get("annotations") or {}),
    }  # fmt: skip
    # For checkpointctl, which shows the origin of an archive. Removed again before a restore.
    annotations = {MANAGER: "libpod", **(spec.get("annotations") or {})}
    # podman can import the archive if it has the image, whose name and id are in podman's annotations.
    image = annotations.get(f"{_PODMAN}rootfsImageName") or annotations.get("org.opencontainers.image.ref.name")
    image_id = annotations.get(f"{_PODMAN}rootfsImageID")
    container = {
        **({"rootfsImageID": image_id} if image_id else {}),
        "id": hashlib.sha256(f"{record.name} {moment}".encode()).hexdigest(), "name": record.name,
        "rootfsImageName": image or record.definition.bundle, "runtime": record.runtime.name, "createdTime": record.created_at,
        "checkpointedTime": moment, "restored": False,
    }  # fmt: skip
    write_text(f"{path}/spec.dump", json.dumps({**spec, "annotations": annotations}))
    write_text(f"{path}/config.dump", json.dumps(container))
    write_text(f"{path}/network.status", "{}")
    write_text(f"{path}/{PENDING}", json.dumps(manifest))


def write_manifest(path: str, manifest: dict[str, t.Any]) -> Stored:
    """Complete the checkpoint in a directory by writing its manifest."""
    write_text(f"{path}/{MANIFEST}", json.dumps(manifest))
    remove_file(f"{path}/{PENDING}")
    return _stored(path, manifest)


def link(source: str, path: str) -> None:
    """Create a copy of a stored checkpoint with hard links, because its files never change."""
    shutil.copytree(source, path, symlinks=True, copy_function=os.link, dirs_exist_ok=True)
    remove_file(f"{path}/{MANIFEST}")


def measured(members: archive.Members) -> dict[str, t.Any]:
    """Return the entries of a manifest for the members."""
    size = sum(size for size, _sha256 in members.values())
    return {"digest": archive.digest(members), "size": size, "members": members}


def from_podman(container: t.Mapping[str, t.Any], spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return a manifest for an archive without one, from its config.dump."""
    runtime = os.path.basename(str(container.get("runtime") or ""))
    return {
        "format": FORMAT, "name": str(container.get("name") or ""),
        "created_at": container.get("checkpointedTime"), "criu": None, "options": {},
        "runtime": {"name": runtime or None, "path": None, "version": None}, "kernel": None, "architecture": None,
        "definition": None, "config_digest": config.digest(dict(spec)), "stop_signal": container.get("stopSignal"),
        "stop_timeout": container.get("stopTimeout"), "started_at": container.get("startedTime"), "rootfs": "changes",
    }  # fmt: skip
