# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive of a checkpoint: the members that podman writes and checkpointctl reads, and a manifest of Longshore.

The layout is that of ``podman container checkpoint --export`` (libpod, container_internal_common.go; checkpointctl, lib).
A stored checkpoint is a directory with the same members. Archives are not trusted: only known members are unpacked, under
fixed names, and each is checked against its digest. The digests detect damage. Only a signature of the manifest proves who
created the archive. typed_documents.py reads the documents.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import typing as t
import zlib

from .._base.errors import EngineError, InvalidInput, ProgramFailed, reason_of
from .._base.program import SEARCH_PATH, clean_environment
from .._trust import trust
from . import archive_file, tar_members, typed_documents
from .layout import DOCUMENTS, FILES, IMAGES, LOG, MANIFEST, PARENT, SIGNATURE, known
from .typed_documents import damaged

if t.TYPE_CHECKING:
    import tarfile

_MOST_MEMBERS = 200_000
_CHUNK = 1 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}

Members = dict[str, tuple[int, str]]  # size and sha256 by name
Sign = t.Callable[[bytes], bytes]  # returns the signature of a manifest
Verify = t.Callable[[bytes, bytes], None]  # raises InvalidInput unless the second is a signature of the first


def digest(members: Members) -> str:
    """Return the sha256 of all data for a restore, which excludes the log of the container."""
    lines = [f"{name} {size} {sha256}\n" for name, (size, sha256) in sorted(members.items()) if name != LOG]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def measure(directory: str) -> Members:
    """Return the members of a stored checkpoint."""
    found = {}
    for name, path in _members(directory):
        with open(path, "rb") as stream:
            reader = _Reader(stream)
            while reader.read(_CHUNK):
                pass
        found[name] = reader.result()
    return found


def _members(directory: str) -> t.Iterator[tuple[str, str]]:
    for name in FILES[:-1]:
        if os.path.isfile(f"{directory}/{name}"):
            yield name, f"{directory}/{name}"
    for images in IMAGES:
        if os.path.isdir(f"{directory}/{images}"):
            for name in sorted(os.listdir(f"{directory}/{images}")):
                path = f"{directory}/{images}/{name}"
                if stat.S_ISREG(os.lstat(path).st_mode):
                    yield f"{images}/{name}", path


class _Reader:
    """A file that is hashed while it is read."""

    def __init__(self, stream: t.IO[bytes]) -> None:
        self._stream, self._hash, self._size = stream, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        self._size += len(data)
        return data

    def result(self) -> tuple[int, str]:
        return self._size, self._hash.hexdigest()


def check_compression(name: str | None, *, pipe: bool = False) -> str:
    """Return the compression. None means zstd if this host has it, otherwise gzip, and no compression for a pipe. Raises
    InvalidInput for an unavailable one."""
    if pipe:
        if name == "zstd":
            raise InvalidInput("The compression zstd cannot be used with a pipe.", hint="Use none or gzip.")
        return name or "none"
    if name is None:
        return "zstd" if _zstd() else "gzip"
    if name == "zstd" and not _zstd():
        raise InvalidInput("The compression zstd needs the program zstd on the host.", hint="Install it, or use gzip.")
    return name


def _zstd() -> str | None:
    return shutil.which("zstd", path=SEARCH_PATH)


def pack(
    directory: str, path: str, *, compression: str, log: str | None, manifest: t.Callable[[Members], t.Mapping[str, t.Any]],
    pipe: t.IO[bytes] | None = None, sign: Sign | None = None,
) -> None:  # fmt: skip
    """Write the archive of a stored checkpoint with mode 0600. It appears in one step.

    ``log`` is the log of the container, or None. ``manifest`` creates Longshore's member when the others are known.
    ``pipe`` is the destination instead of a file. ``sign`` signs the manifest.
    """
    if pipe is not None:
        try:
            with _compressor(pipe, compression) as packed:
                _write(directory, packed, log, manifest, sign)
            pipe.flush()
        except OSError as exc:
            raise EngineError(f"Cannot write the archive into the pipe {path}: {reason_of(exc)}.") from exc
        return
    trust.check(path, "The archive", missing=True)
    try:
        notes = os.path.dirname(directory)
        with archive_file.replacing(path, notes) as stream, _compressor(stream, compression) as packed:
            _write(directory, packed, log, manifest, sign)
    except OSError as exc:
        raise EngineError(f"Cannot write the archive {path}: {reason_of(exc)}.") from exc


def _write(
    directory: str, stream: t.IO[bytes], log: str | None, manifest: t.Callable[[Members], t.Mapping[str, t.Any]],
    sign: Sign | None,
) -> None:  # fmt: skip
    import tarfile

    found: Members = {}
    links: dict[str, str] = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        sources = [*_members(directory), *([(LOG, log)] if log and os.path.isfile(log) else [])]
        for images in IMAGES:
            if os.path.isdir(f"{directory}/{images}"):
                # checkpointctl needs an entry for the directory.
                tar.addfile(_header(images, kind=tarfile.DIRTYPE, mode=0o700))
        for images in IMAGES:
            if os.path.islink(f"{directory}/{images}/{PARENT}"):
                link = _header(f"{images}/{PARENT}", kind=tarfile.SYMTYPE)
                link.linkname = links[link.name] = os.readlink(f"{directory}/{images}/{PARENT}")
                tar.addfile(link)
        for name, path in sources:
            with open(path, "rb") as source:
                header = _header(name, size=os.fstat(source.fileno()).st_size)
                reader = _Reader(source)
                tar.addfile(header, t.cast(t.IO[bytes], reader))  # Reads exactly this size, also from a growing log.
            found[name] = reader.result()
        text = json.dumps({**manifest(found), "links": links}, indent=2).encode()
        tar.addfile(_header(MANIFEST, size=len(text)), io.BytesIO(text))
        if sign:
            signature = sign(text)
            tar.addfile(_header(SIGNATURE, size=len(signature)), io.BytesIO(signature))


def _header(name: str, *, size: int = 0, kind: bytes = b"0", mode: int = 0o600) -> tarfile.TarInfo:
    import tarfile

    header = tarfile.TarInfo(name)
    header.size, header.type, header.mode = size, kind, mode
    return header


@contextlib.contextmanager
def _compressor(stream: t.IO[bytes], compression: str) -> t.Iterator[t.IO[bytes]]:
    if compression == "none":
        yield stream
    elif compression == "gzip":
        # Level 1: memory images are big, and higher levels save little.
        with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed:
            yield t.cast(t.IO[bytes], packed)
    else:
        with contextlib.ExitStack() as stack:
            child = stack.enter_context(_zstd_process(["-T0", "-c"], stdin=subprocess.PIPE, stdout=stream))
            yield t.cast(t.IO[bytes], child.stdin)


@contextlib.contextmanager
def _zstd_process(arguments: list[str], **streams: t.Any) -> t.Iterator[subprocess.Popen[bytes]]:
    """Run zstd at one end of a pipe, and end it afterwards. Raises ProgramFailed if it fails."""
    argv = [_zstd() or "zstd", "-q", *arguments]
    # Its short error output fits into memory. A pipe would have to be read.
    with open(os.memfd_create("stderr"), "w+b") as err:
        with subprocess.Popen(argv, stderr=err, env=clean_environment(), **streams) as child:
            try:
                yield child
                for stream in (child.stdin, child.stdout):
                    if stream:
                        stream.close()
                status = child.wait()
            except BaseException:
                child.kill()
                raise
        err.seek(0)
        said = err.read().decode("utf-8", "replace").strip()[-300:]
    if status not in (0, -13):  # 13 is SIGPIPE: all needed data has been read
        raise ProgramFailed(f"zstd says: {said or f'no message, only exit status {status}'}")


@contextlib.contextmanager
def _decompressor(path: str) -> t.Iterator[t.IO[bytes]]:
    with open(path, "rb") as stream:
        head = os.pread(
            stream.fileno(), 4, 0
        )  # Not read(), which would move the offset at which zstd starts to read the file.
        compression = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "none")
        if compression == "gzip":
            with gzip.GzipFile(fileobj=stream) as unpacked:
                yield t.cast(t.IO[bytes], unpacked)
        elif compression == "zstd":
            check_compression("zstd")
            with contextlib.ExitStack() as stack:
                child = stack.enter_context(_zstd_process(["-d", "-c"], stdin=stream, stdout=subprocess.PIPE))
                yield t.cast(t.IO[bytes], child.stdout)
        else:
            yield stream


@contextlib.contextmanager
def _from_pipe(pipe: t.BinaryIO) -> t.Iterator[t.IO[bytes]]:
    head = t.cast(io.BufferedReader, pipe).peek(4)
    if head.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=pipe) as unpacked:
            yield t.cast(t.IO[bytes], unpacked)
    else:
        yield pipe


@contextlib.contextmanager
def _open(path: str, pipe: t.BinaryIO | None = None) -> t.Iterator[tarfile.TarFile]:
    """Yield the archive as a stream of members. Raises InvalidInput if it is not an archive, or is damaged."""
    import tarfile

    if pipe is None and not os.path.isfile(path):
        raise InvalidInput(f"There is no archive {path}.")
    if pipe is None:
        trust.check(path, "The archive")
    try:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(_from_pipe(pipe) if pipe else _decompressor(path))
            yield stack.enter_context(tar_members.opened(fileobj=stream, mode="r|"))
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ProgramFailed, UnicodeError) as exc:
        raise damaged(path, str(exc).rstrip(".")) from exc
    except OSError as exc:
        raise EngineError(f"Cannot read the archive {path}: {reason_of(exc)}.") from exc


def peek(path: str, *, room: int, verify: Verify | None = None) -> dict[str, t.Any]:
    """Return the ``config.dump``, ``spec.dump`` and manifest of an archive, by their names. Write nothing.

    ``room`` is the available space in bytes. No more is read.
    """
    found: Members = {}
    links: dict[str, str] = {}
    texts: dict[str, bytes] = {}
    with _open(path) as tar:
        for name, member in _known_members(tar, path, room):
            if name in found or name in links:
                raise InvalidInput(f"{path} has two members {name!r}.")
            if member.issym():
                links[name] = member.linkname
                continue
            reader = _Reader(t.cast(t.IO[bytes], tar.extractfile(member)))
            if name in (*DOCUMENTS, SIGNATURE):
                texts[name] = reader.read(typed_documents.MOST_BYTES + 1)
            while reader.read(_CHUNK):
                pass
            found[name] = reader.result()
    _check_whole(path, found, links, texts, verify)
    return documents(texts, path)


def documents(texts: t.Mapping[str, bytes], path: str) -> dict[str, t.Any]:
    """Return the documents of an archive by their names, with checked types."""
    readers = (typed_documents.spec, typed_documents.container, typed_documents.manifest)
    return {
        name: read(typed_documents.parse(texts[name], name, path), path)
        for name, read in zip(DOCUMENTS, readers)
        if name in texts
    }


def _known_members(tar: tarfile.TarFile, path: str, room: int) -> t.Iterator[tuple[str, tarfile.TarInfo]]:
    """Yield the known members, no more than fit into the available space. Raises InvalidInput, EngineError."""
    left = room
    for member in tar_members.members(tar, most=_MOST_MEMBERS, room=(1 << 63) - 1):
        name = known(member, path)
        left -= member.size if member.isreg() else 0
        if left < 0:
            raise EngineError(f"There is not enough space to unpack {path}: {room >> 20} MiB are free.")
        if name is None:
            tar_members.skip(tar, member)
        else:
            yield name, member


def unpack(
    path: str, directory: str, *, pipe: t.BinaryIO | None = None, verify: Verify | None = None
) -> dict[str, t.Any]:  # fmt: skip
    """Unpack an archive into an empty directory, within the available space. Return its documents by their names.

    ``pipe`` is the source instead of a file. Raises InvalidInput, EngineError.
    """
    found: Members = {}
    links: dict[str, str] = {}
    with _open(path, pipe) as tar:
        for name, member in _known_members(tar, path, tar_members.room_in(directory)):
            if name in found or os.path.lexists(f"{directory}/{name}"):
                raise InvalidInput(f"{path} has two members {name!r}.")
            try:
                os.makedirs(os.path.dirname(f"{directory}/{name}"), mode=0o711, exist_ok=True)
                if member.issym():
                    os.symlink(member.linkname, f"{directory}/{name}")
                    links[name] = member.linkname
                else:
                    found[name] = _extract(tar, member, f"{directory}/{name}")
            except OSError as exc:
                if isinstance(exc, gzip.BadGzipFile):
                    raise
                raise EngineError(f"Cannot unpack {path}: {reason_of(exc)}.") from exc
    texts = {name: read(f"{directory}/{name}") for name in (*DOCUMENTS, SIGNATURE) if name in found}
    _check_whole(path, found, links, texts, verify)
    return documents(texts, path)


def read(path: str) -> bytes:
    """Return a document of an unpacked archive."""
    with open(path, "rb") as stream:
        return stream.read(typed_documents.MOST_BYTES + 1)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> tuple[int, str]:
    source = tar.extractfile(member)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as target:
        reader = _Reader(t.cast(t.IO[bytes], source))
        shutil.copyfileobj(reader, target, _CHUNK)
    return reader.result()


def _check_whole(
    path: str, found: Members, links: t.Mapping[str, str], texts: t.Mapping[str, bytes], verify: Verify | None
) -> None:  # fmt: skip
    """Raises InvalidInput for an archive that is incomplete or changed, or does not have the required signature."""
    for name in ("spec.dump", "config.dump", "checkpoint/inventory.img"):
        if name not in found:
            raise InvalidInput(f"{path} is not a complete archive of a checkpoint: it has no {name}.")
    if verify:
        if MANIFEST not in texts or SIGNATURE not in texts:
            raise InvalidInput(f"{path} is not signed, but verify requires a signature.")
        verify(texts[MANIFEST], texts[SIGNATURE])
    if MANIFEST not in texts:
        return  # podman's
    manifest = typed_documents.manifest(typed_documents.parse(texts[MANIFEST], MANIFEST, path), path)
    recorded = manifest["members"] or {}
    for name in sorted({*recorded, *found} - {MANIFEST, SIGNATURE}):
        if list(found.get(name, ())) != recorded.get(name):
            raise damaged(path, f"the member {name[:100]} was changed")
    # Archives of earlier releases have no links in the manifest, and no signature.
    if (manifest["links"] is not None or verify) and (manifest["links"] or {}) != links:
        raise damaged(path, f"the links {', '.join(sorted({*links, *(manifest['links'] or {})}))[:200]} were changed")
