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
import re
import shutil
import typing as t

from .._archive import typed_documents
from .._archive.archive_reader import read
from .._archive.layout import MANIFEST
from .._archive.manifest import Manifest
from .._base.errors import WrongState
from .._base.files import make_directory, read_json, remove_file, write_text
from .._state.model import Record
from .._state.phase import Phase
from .._state.store import Store
from .._state.unfinished import PENDING, WORK, discard, own_name

MANAGER = "io.container.manager"
_PODMAN = "io.podman.annotations.checkpoint."


class Stored(t.NamedTuple):
    """A complete checkpoint: its directory, Longshore's manifest, and the config of its container."""

    path: str
    manifest: Manifest
    spec: dict[str, t.Any]

    @property
    def is_foreign(self) -> bool:
        """Tell whether it comes from an archive of any origin. This stays true for a kept checkpoint."""
        return self.manifest.from_archive


def load(path: str) -> Stored | None:
    """Return the checkpoint in a directory, None where there is none that is whole. Raises InvalidOption for a damaged one."""
    manifest = _manifest(path, MANIFEST)
    return manifest and Stored(path, manifest, _spec(path, manifest))


def present(whole: Stored | None, name: str) -> Stored:
    """Return a checkpoint that was found before. Raises WrongState if another task has removed it in the meantime."""
    if whole is None:
        raise WrongState(f"The checkpoint of the container {name} is not there any more.")
    return whole


def _manifest(path: str, name: str) -> Manifest | None:
    value = read_json(f"{path}/{name}")  # None too for one that was not written to its end: there is no checkpoint.
    return None if value is None else typed_documents.stored_manifest(value, name, path)


def _spec(path: str, manifest: Manifest) -> dict[str, t.Any]:
    if not manifest.from_archive:
        return read_json(f"{path}/spec.dump") or {}
    return typed_documents.spec(read(f"{path}/spec.dump"), typed_documents.damaged_checkpoint(path))


def _top(store: Store, name: str) -> str:
    return f"{store.paths(name).state}/checkpoints"


def newest_path(store: Store, name: str) -> str | None:
    """Return the directory of the checkpoint of a container: the one that ended it, otherwise the newest complete one. Never one
    from which it was restored and that is to be removed."""
    top, record = _top(store, name), store.load(name)
    own = record.checkpoint.path if record and record.checkpoint else ""
    if record and own and record.phase in (Phase.CHECKPOINTED, Phase.RESTORING):
        return own if read_json(f"{own}/{MANIFEST}") is not None else None
    used = own if record and record.phase is not Phase.CHECKPOINTING else ""
    names = sorted(os.listdir(top), reverse=True) if os.path.isdir(top) else []
    for path in [f"{top}/{entry}" for entry in names if not entry.startswith(".")]:
        if path != used and read_json(f"{path}/{MANIFEST}") is not None:
            return path
    return None


def newest(store: Store, name: str) -> Stored | None:
    """Return the checkpoint of a container (see newest_path). Raises InvalidOption for a damaged one."""
    path = newest_path(store, name)
    return load(path) if path else None


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
    path = _named(store, name, source.manifest.created_at or "unknown")
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


def describe_before(path: str, record: Record, spec: t.Mapping[str, t.Any], manifest: Manifest) -> None:
    """Write the facts from before the dump, and the documents that podman and checkpointctl read."""
    moment = str(manifest.created_at)
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
    write_text(f"{path}/{PENDING}", json.dumps(manifest.to_json()))


def write_manifest(path: str, manifest: Manifest) -> Stored:
    """Complete the checkpoint in a directory by writing its manifest."""
    write_text(f"{path}/{MANIFEST}", json.dumps(manifest.to_json()))
    remove_file(f"{path}/{PENDING}")
    return Stored(path, manifest, _spec(path, manifest))


def link(source: str, path: str) -> None:
    """Create a copy of a stored checkpoint with hard links, because its files never change."""
    shutil.copytree(source, path, symlinks=True, copy_function=os.link, dirs_exist_ok=True)
    remove_file(f"{path}/{MANIFEST}")
