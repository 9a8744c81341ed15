# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a restored container."""

from __future__ import annotations

import os

from .._archive import rootfs_diff, typed_documents
from .._archive.archive_reader import read
from .._base.files import make_directory, read_text, write_text
from .._container.create import Launch
from .._state.store import Store
from .checkpoint_store import Stored
from .restore_config import PODMAN_MOUNTS


def lay_out(store: Store, name: str, launch: Launch, source: Stored, *, with_log: bool) -> None:
    """Create the files of the restored container from the unpacked checkpoint."""
    state = store.paths(name).state
    for mount in launch.config.get("mounts") or []:
        where, path = str(mount.get("destination")), str(mount.get("source"))
        if where in PODMAN_MOUNTS and path == f"{state}/mounts{where}":
            make_directory(path if PODMAN_MOUNTS[where] else os.path.dirname(path), mode=0o755)
            if not PODMAN_MOUNTS[where] and not os.path.exists(path):
                text = read_text(where) if where in ("/etc/hosts", "/etc/resolv.conf") else ""
                write_text(path, text or "", mode=0o644)
            elif where == "/dev/shm" and os.path.exists(f"{source.path}/devshm-checkpoint.tar"):
                rootfs_diff.apply(path, f"{source.path}/devshm-checkpoint.tar", None)
                os.chmod(path, 0o1777)
    root = launch.config["root"]["path"]
    deleted = _deleted(source)
    # If the manifest does not mention it, it is incomplete data of a killed task.
    packed = source.manifest.rootfs and os.path.exists(f"{source.path}/rootfs-diff.tar")
    deleted = deleted if source.manifest.rootfs else []
    if packed:
        rootfs_diff.apply(
            root, f"{source.path}/rootfs-diff.tar", None if source.manifest.rootfs == "complete" else deleted
        )
    elif deleted:
        rootfs_diff.apply(root, None, deleted)
    log = launch.record.log_path
    if with_log and log and not os.path.exists(log) and os.path.exists(f"{source.path}/ctr.log"):
        os.replace(f"{source.path}/ctr.log", log)


def _deleted(source: Stored) -> list[str]:
    """Return the names of deleted files from podman or Longshore."""
    path = f"{source.path}/deleted.files"
    return typed_documents.deleted_files(read(path), source.path) if os.path.exists(path) else []
