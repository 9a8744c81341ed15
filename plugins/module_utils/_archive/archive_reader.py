# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the archive of a checkpoint, which may come from anywhere.

Archives are not trusted: only known members are unpacked, under fixed names, and each is checked against its digest. The
digests detect damage. Only a signature of the manifest proves who created the archive. Each read checks exactly the bytes
that it has read, and all reads use one open file.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import typing as t
import zlib

from .._base.errors import InvalidOption, LongshoreError, ProgramFailed, reason_of
from .._trust import trust
from . import tar_members, typed_documents
from .compression import decompressor, from_pipe
from .layout import DOCUMENTS, MANIFEST, SIGNATURE, HashingReader, Member, Members, known
from .manifest import Container, Manifest, from_podman

if t.TYPE_CHECKING:
    import tarfile

_MOST_MEMBERS = 200_000
_CHUNK = 1 << 20

Verify = t.Callable[[bytes, bytes], None]  # raises InvalidOption unless the second is a signature of the first


class Documents(t.NamedTuple):
    """The documents of an archive, with checked types. ``manifest`` is None if podman created the archive."""

    spec: dict[str, t.Any]
    container: Container
    manifest: Manifest | None

    @property
    def description(self) -> Manifest:
        """Return the manifest, or one for an archive without it."""
        return self.manifest or from_podman(self.container, self.spec)


class _Found(t.NamedTuple):
    """The content of an archive: members and links by their names, and the texts of the documents."""

    members: Members
    links: dict[str, str]
    texts: dict[str, bytes]


class Archive:
    """An archive in a file, which is opened once: the members that are unpacked are those that were read before."""

    def __init__(self, path: str, verify: Verify | None = None) -> None:
        self.path, self._verify = path, verify
        self._descriptor = -1
        self._seen: tuple[_Found, Documents] | None = None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def peek(self, *, room: int) -> Documents:
        """Return the documents. The first call reads and checks the whole archive. Raises InvalidOption, LongshoreError.

        ``room`` is the available space in bytes. No more is read.
        """
        if self._seen is None:
            with _reading(self.path), decompressor(self._open()) as stream:
                found = _read(stream, self.path, room, _Looked())
            self._seen = found, _checked(self.path, found, self._verify)
        return self._seen[1]

    def unpack(self, directory: str) -> Documents:
        """Unpack the archive into an empty directory, within the available space. Return its documents.

        Raises InvalidOption, also for an archive that was changed since the first read, and LongshoreError.
        """
        with _reading(self.path), decompressor(self._open()) as stream:
            documents, found = _unpack(stream, self.path, directory, self._verify)
        if self._seen is not None and self._seen[0] != found:
            raise InvalidOption(f"The archive {self.path} was changed while it was read.")
        return documents

    def _open(self) -> int:
        if self._descriptor < 0:
            if not os.path.isfile(self.path):
                raise InvalidOption(f"There is no archive {self.path}.")
            trust.check(self.path, "The archive")
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptor


def unpack_pipe(pipe: t.BinaryIO, path: str, directory: str, verify: Verify | None = None) -> Documents:
    """Unpack the archive that comes through the pipe ``path``, as Archive.unpack does."""
    with _reading(path), from_pipe(pipe) as stream:
        return _unpack(stream, path, directory, verify)[0]


@contextlib.contextmanager
def _reading(path: str) -> t.Iterator[None]:
    """Raise InvalidOption if the file is not an archive, or is damaged; LongshoreError if it cannot be read."""
    import tarfile

    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ProgramFailed, UnicodeError) as exc:
        raise typed_documents.damaged_archive(path)(str(exc).rstrip(".")) from exc
    except OSError as exc:
        raise LongshoreError(f"Cannot read the archive {path}: {reason_of(exc)}.") from exc


class _Looked:
    """Takes the members of an archive, and keeps the documents only."""

    def link(self, name: str, target: str) -> None:
        pass

    def file(self, name: str, source: HashingReader) -> bytes:
        return source.read(typed_documents.MOST_BYTES + 1) if name in (*DOCUMENTS, SIGNATURE) else b""


class _Unpacked:
    """Takes the members of an archive, and writes them into an empty directory."""

    def __init__(self, directory: str, path: str) -> None:
        self._directory, self._archive = directory, path

    def link(self, name: str, target: str) -> None:
        with self._writing(name) as path:
            os.symlink(target, path)

    def file(self, name: str, source: HashingReader) -> bytes:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._writing(name) as path, open(os.open(path, flags, 0o600), "w+b") as target:
            shutil.copyfileobj(source, target, _CHUNK)
            if name not in (*DOCUMENTS, SIGNATURE):
                return b""
            target.seek(0)
            return target.read(typed_documents.MOST_BYTES + 1)

    @contextlib.contextmanager
    def _writing(self, name: str) -> t.Iterator[str]:
        path = f"{self._directory}/{name}"
        try:
            os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
            yield path
        except FileExistsError as exc:
            raise InvalidOption(f"{self._archive} has two members {name!r}.") from exc
        except OSError as exc:
            if isinstance(exc, gzip.BadGzipFile):
                raise
            raise LongshoreError(f"Cannot unpack {self._archive}: {reason_of(exc)}.") from exc


def _read(stream: t.IO[bytes], path: str, room: int, taker: _Looked | _Unpacked) -> _Found:
    """Give the known members to ``taker``, each once. Raises InvalidOption, LongshoreError, and the errors that _reading converts."""
    members: Members = {}
    links: dict[str, str] = {}
    texts: dict[str, bytes] = {}
    with tar_members.opened(fileobj=stream, mode="r|") as tar:
        for name, member in _known_members(tar, path, room):
            if name in members or name in links:
                raise InvalidOption(f"{path} has two members {name!r}.")
            if member.issym():
                taker.link(name, member.linkname)
                links[name] = member.linkname
                continue
            reader = HashingReader(t.cast(t.IO[bytes], tar.extractfile(member)))
            text = taker.file(name, reader)
            members[name] = reader.read_all()
            if name in (*DOCUMENTS, SIGNATURE):
                texts[name] = text
    return _Found(members, links, texts)


def _known_members(tar: tarfile.TarFile, path: str, room: int) -> t.Iterator[tuple[str, tarfile.TarInfo]]:
    """Yield the known members, no more than fit into the available space. Raises InvalidOption, LongshoreError."""
    left = room
    for member in tar_members.members(tar, most=_MOST_MEMBERS, room=(1 << 63) - 1):
        name = known(member, path)
        left -= member.size if member.isreg() else 0
        if left < 0:
            raise LongshoreError(f"There is not enough space to unpack {path}: {room >> 20} MiB are free.")
        if name is None:
            tar_members.skip(tar, member)
        else:
            yield name, member


def _unpack(stream: t.IO[bytes], path: str, directory: str, verify: Verify | None) -> tuple[Documents, _Found]:
    found = _read(stream, path, tar_members.room_in(directory), _Unpacked(directory, path))
    return _checked(path, found, verify), found


def read(path: str) -> bytes:
    """Return a document of an unpacked archive."""
    with open(path, "rb") as stream:
        return stream.read(typed_documents.MOST_BYTES + 1)


def _checked(path: str, found: _Found, verify: Verify | None) -> Documents:
    """Raises InvalidOption for an archive that is incomplete or changed, or does not have the required signature."""
    members, links, texts = found
    damaged = typed_documents.damaged_archive(path)
    for name in ("spec.dump", "config.dump", "checkpoint/inventory.img"):
        if name not in members:
            raise InvalidOption(f"{path} is not a complete archive of a checkpoint: it has no {name}.")
    if verify:
        if MANIFEST not in texts or SIGNATURE not in texts:
            raise InvalidOption(f"{path} is not signed, but verify requires a signature.")
        verify(texts[MANIFEST], texts[SIGNATURE])
    manifest = typed_documents.manifest(texts[MANIFEST], damaged) if MANIFEST in texts else None
    if manifest is not None:
        _check_members(members, links, manifest, damaged, signed=verify is not None)
    spec, container = (
        typed_documents.spec(texts["spec.dump"], damaged),
        typed_documents.container(texts["config.dump"], damaged),
    )
    return Documents(spec, container, manifest)


def _check_members(
    members: t.Mapping[str, Member], links: t.Mapping[str, str], manifest: Manifest, damaged: typed_documents.Damaged, *,
    signed: bool,
) -> None:  # fmt: skip
    recorded = manifest.members or {}
    for name in sorted({*recorded, *members} - {MANIFEST, SIGNATURE}):
        if members.get(name) != recorded.get(name):
            raise damaged(f"the member {name[:100]} was changed")
    # Archives of earlier releases have no links in the manifest, and no signature.
    packed = dict(manifest.links or {})
    if (manifest.links is not None or signed) and packed != links:
        raise damaged(f"the links {', '.join(sorted({*links, *packed}))[:200]} were changed")
