# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a checkpoint comes from that is restored: the state directory, an archive, or a pipe."""

from __future__ import annotations

from .._archive import manifest, tar_members
from .._archive.archive_reader import Archive, Documents, Verify, unpack_pipe
from .._archive.manifest import Manifest
from .._archive.named_pipe import reader
from .._base.deadline import Deadline
from .._base.files import remove_tree
from .._state.model import Checkpoint
from .._state.store import Store
from .._state.unfinished import check_whole
from . import checkpoint_store
from .checkpoint_store import Stored
from .request import Request


class Source:
    """The checkpoint of one restore. An archive is read once for all decisions, and once to unpack it, from the same open file."""

    def __init__(self, store: Store, request: Request, received: Stored | None = None) -> None:
        self._store, self._request, self._received = store, request, received
        self._archive: Archive | None = None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._archive is not None:
            self._archive.__exit__(*exc)

    def stored(self) -> Stored | None:
        """Return the checkpoint that came through a pipe, otherwise the stored one, or None."""
        return self._received or checkpoint_store.newest(self._store, self._request.name)

    def look(self) -> Stored:
        """Return the checkpoint to restore. Of an archive, read only the needed documents; its path is empty. Raises
        InvalidOption or WrongState."""
        if self._request.archive is None:
            found = checkpoint_store.present(self.stored(), self._request.name)
            check_whole(self._request.name, Checkpoint(found.path))
            return found
        documents = self._opened().peek(room=tar_members.room_in(self._store.state_dir))
        return Stored("", accepted(self._request, documents), documents.spec)

    def unpack(self, directory: str) -> Manifest:
        """Unpack the archive into an empty directory. The checks cover exactly the bytes that are written."""
        return accepted(self._request, self._opened().unpack(directory))

    def _opened(self) -> Archive:
        if self._archive is None:
            self._archive = Archive(str(self._request.archive), verifier(self._request))
        return self._archive


def accepted(request: Request, documents: Documents) -> Manifest:
    """Return the manifest of an archive. Raises InvalidOption if it does not match the request."""
    return manifest.check(documents.description, request.name, str(request.archive))


def verifier(request: Request) -> Verify | None:
    """Return the check of a signature, or None if it is not requested. Raises InvalidOption for files without a key."""
    if not request.verify:
        return None
    from .._archive import signatures

    signatures.check_signers(request.verify)
    return lambda text, signature: signatures.verify(text, signature, request.verify, what=str(request.archive))


def receive(store: Store, request: Request, deadline: Deadline) -> Stored:
    """Store the archive that comes through a pipe in a work directory. Remove the directory if that fails."""
    path = checkpoint_store.work_directory(store, request.name)
    try:
        with reader(str(request.archive), deadline) as pipe:
            documents = unpack_pipe(pipe, str(request.archive), path, verifier(request))
        return checkpoint_store.write_manifest(path, accepted(request, documents))
    except BaseException:
        give_back(store, request.name, path)
        raise


def give_back(store: Store, name: str, path: str) -> None:
    """Remove a work directory, unless it was kept and has another name now, and then the empty directories above."""
    remove_tree(path)
    if store.load(name) is None:
        checkpoint_store.leave(store, name)
