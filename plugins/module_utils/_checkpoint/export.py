# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a stored checkpoint into an archive."""

from __future__ import annotations

import functools
import os
import typing as t

from .._archive import compression
from .._archive.archive_writer import pack
from .._archive.layout import Members
from .._archive.manifest import Manifest
from .._archive.named_pipe import check_pipe, is_pipe
from .._base.errors import InvalidOption
from .._base.files import remove_file
from .._state.model import LogDriver, Record
from .._trust import trust
from . import checkpoint_store
from .checkpoint_store import Stored
from .dump import add_rootfs
from .request import Request


def check_export(request: Request) -> None:
    """Refuse an archive that cannot be written (InvalidOption), before the container stands still."""
    path = str(request.archive)
    compression.check(request.compression, pipe=is_pipe(path))
    if is_pipe(path):
        check_pipe(path)
    if request.sign_key:
        from .._archive import signatures

        # This detects, for example, a key with a passphrase before the container is frozen.
        signatures.sign(b"", request.sign_key)
    if os.path.isdir(path):
        raise InvalidOption(f"The archive {path} cannot be written: it is a directory.")
    if not os.path.isdir(os.path.dirname(path)):
        raise InvalidOption(f"The archive {path} cannot be written: there is no directory {os.path.dirname(path)}.")
    trust.check(path, "The archive", missing=True)


def export(request: Request, whole: Stored, record: Record, pipe: t.BinaryIO | None) -> Stored:
    """Write the archive, and compute the digests at the same time, so that the images are read only once.

    Return the checkpoint with its new manifest.
    """
    manifest = whole.manifest._replace(export=None)
    if manifest.rootfs is None:
        remove_file(f"{whole.path}/rootfs-diff.tar")  # of a task that was killed
        remove_file(f"{whole.path}/deleted.files")
        manifest = manifest._replace(rootfs=add_rootfs(whole.path, whole.spec) if request.include_rootfs else None)
    written = [manifest]

    def finish(members: Members) -> Manifest:
        written.append(manifest.with_members(members))
        return written[-1]

    log = record.log_path if request.include_logs and record.definition.log_driver is LogDriver.K8S_FILE else None
    kind_of = compression.check(request.compression, pipe=pipe is not None)
    sign = None
    if request.sign_key:
        from .._archive import signatures

        sign = functools.partial(signatures.sign, key=request.sign_key)
    pack(whole.path, str(request.archive), compression=kind_of, log=log, manifest=finish, pipe=pipe, sign=sign)
    due = whole.manifest.export
    return checkpoint_store.write_manifest(
        whole.path, written[-1]._replace(export=None if due == request.archive else due)
    )
