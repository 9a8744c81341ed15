# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive of a checkpoint: the members that podman writes and checkpointctl reads, and one more that is ours.

The layout is that of ``podman container checkpoint --export`` (libpod, container_internal_common.go; checkpointctl, lib).
A stored checkpoint is a directory with the same members. What is unpacked comes from anywhere, so nothing of it is
believed: only the members that are known are written, under names of our own, and each is checked against its digest.
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

from . import trust
from .errors import EngineError, InvalidInput, ProgramFailed, reason_of
from .files import remove_file
from .process import SEARCH_PATH, clean_environment

if t.TYPE_CHECKING:
    import tarfile

MANIFEST = "longshore.json"
LOG = "ctr.log"
# CRIU's, flat directories of regular files, the last first. podman has one that is made beforehand.
_IMAGES = ("checkpoint", *(f"pre-checkpoint-{number}" for number in range(9, 1, -1)), "pre-checkpoint")
_FILES = (
    "config.dump", "spec.dump", "network.status", "stats-dump", LOG, "devshm-checkpoint.tar", "rootfs-diff.tar",
    "deleted.files", MANIFEST,
)  # fmt: skip
_PARENT = "parent"  # the link in a directory of images to the one that was made before it
_MOST_MEMBERS = 200_000
_CHUNK = 1 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}

Members = dict[str, tuple[int, str]]  # size and sha256 by name


def digest(members: Members) -> str:
    """sha256 of what a restore is made from; the log of the container is none of that."""
    lines = [f"{name} {size} {sha256}\n" for name, (size, sha256) in sorted(members.items()) if name != LOG]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def measure(directory: str) -> Members:
    """The members of a stored checkpoint."""
    found = {}
    for name, path in _members(directory):
        with open(path, "rb") as stream:
            reader = _Reader(stream)
            while reader.read(_CHUNK):
                pass
        found[name] = reader.result()
    return found


def _members(directory: str) -> t.Iterator[tuple[str, str]]:
    for name in _FILES[:-1]:
        if os.path.isfile(f"{directory}/{name}"):
            yield name, f"{directory}/{name}"
    for images in _IMAGES:
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
    """The compression to use; None is zstd where this host has it, else gzip, and nothing for a pipe. Raises InvalidInput
    for what cannot be."""
    if pipe:
        if name == "zstd":
            raise InvalidInput("The compression zstd does not go through a pipe.", hint="Use none or gzip.")
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
    pipe: t.IO[bytes] | None = None,
) -> None:  # fmt: skip
    """Write the archive of a stored checkpoint, in one step as others see it; nobody else may read it (mode 0600).

    ``log`` is the log of the container, or None. ``manifest`` makes our own member of the others, once they are known.
    ``pipe`` is where to write it to instead of to a file.
    """
    if pipe is not None:
        try:
            with _compressor(pipe, compression) as packed:
                _write(directory, packed, log, manifest)
            pipe.flush()
        except OSError as exc:
            raise EngineError(f"Cannot write the archive into the pipe {path}: {reason_of(exc)}.") from exc
        return
    trust.check(path, "The archive", missing=True)
    temporary = f"{path}.{os.urandom(4).hex()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream, _compressor(stream, compression) as packed:
            _write(directory, packed, log, manifest)
        os.rename(temporary, path)
    except OSError as exc:
        raise EngineError(f"Cannot write the archive {path}: {reason_of(exc)}.") from exc
    finally:
        remove_file(temporary)


def _write(directory: str, stream: t.IO[bytes], log: str | None, manifest: t.Callable[[Members], t.Mapping[str, t.Any]]) -> None:  # fmt: skip
    import tarfile

    found: Members = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        sources = [*_members(directory), *([(LOG, log)] if log and os.path.isfile(log) else [])]
        for images in _IMAGES:
            if os.path.isdir(f"{directory}/{images}"):
                # checkpointctl looks for the directory itself.
                tar.addfile(_header(images, kind=tarfile.DIRTYPE, mode=0o700))
        for images in _IMAGES:
            if os.path.islink(f"{directory}/{images}/{_PARENT}"):
                link = _header(f"{images}/{_PARENT}", kind=tarfile.SYMTYPE)
                link.linkname = os.readlink(f"{directory}/{images}/{_PARENT}")
                tar.addfile(link)
        for name, path in sources:
            with open(path, "rb") as source:
                header = _header(name, size=os.fstat(source.fileno()).st_size)
                reader = _Reader(source)
                tar.addfile(header, t.cast(t.IO[bytes], reader))  # Reads just as much, also of a log that grows.
            found[name] = reader.result()
        text = json.dumps(manifest(found), indent=2).encode()
        tar.addfile(_header(MANIFEST, size=len(text)), io.BytesIO(text))


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
        # Level 1: memory images are big, and nobody wants to wait for the last percent.
        with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed:
            yield t.cast(t.IO[bytes], packed)
    else:
        with contextlib.ExitStack() as stack:
            child = stack.enter_context(_zstd_process(["-T0", "-c"], stdin=subprocess.PIPE, stdout=stream))
            yield t.cast(t.IO[bytes], child.stdin)


@contextlib.contextmanager
def _zstd_process(arguments: list[str], **streams: t.Any) -> t.Iterator[subprocess.Popen[bytes]]:
    """zstd at one end of a pipe. Raises ProgramFailed where it fails, and never outlives its use."""
    argv = [_zstd() or "zstd", "-q", *arguments]
    # Its few words of complaint fit into memory; a pipe for them would have to be read.
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
    if status not in (0, -13):  # 13 is SIGPIPE: we have read all that we want
        raise ProgramFailed(f"zstd says: {said or f'nothing, only exit status {status}'}")


@contextlib.contextmanager
def _decompressor(path: str) -> t.Iterator[t.IO[bytes]]:
    with open(path, "rb") as stream:
        head = os.pread(stream.fileno(), 4, 0)  # Not read(): zstd gets the file itself, and starts where that is.
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
    """The archive as a stream of members. Raises InvalidInput for what is none, or is damaged."""
    import tarfile

    if pipe is None and not os.path.isfile(path):
        raise InvalidInput(f"There is no archive {path}.")
    if pipe is None:
        trust.check(path, "The archive")
    try:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(_from_pipe(pipe) if pipe else _decompressor(path))
            yield stack.enter_context(tarfile.open(fileobj=stream, mode="r|"))
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ProgramFailed, UnicodeError) as exc:
        raise InvalidInput(f"{path} is not an archive of a checkpoint, or it is damaged: {exc}.") from exc


def peek(path: str) -> dict[str, t.Any]:
    """The ``config.dump``, ``spec.dump`` and manifest of an archive, by their names. Nothing is written."""
    found: dict[str, t.Any] = {}
    with _open(path) as tar:
        for member in tar:
            name = _known(member, path)
            if name in found:
                raise InvalidInput(f"{path} has two members {name!r}.")
            if name in ("config.dump", "spec.dump", MANIFEST):
                stream = tar.extractfile(member)
                found[name] = _json(stream.read(16 << 20) if stream else b"", name, path)
    if "spec.dump" not in found or "config.dump" not in found:
        raise InvalidInput(f"{path} is not an archive of a checkpoint: it has no spec.dump or no config.dump.")
    return found


def _json(text: bytes, name: str, path: str) -> dict[str, t.Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidInput(f"The member {name} of {path} is not a JSON object.")
    return value


def _known(member: tarfile.TarInfo, path: str) -> str | None:
    """The name under which a member is written, None for one that is of no use. Raises InvalidInput for anything odd."""
    name = member.name[2:] if member.name.startswith("./") else member.name
    parts = name.rstrip("/").split("/")
    plain = all(part not in ("", ".", "..") and "\0" not in part for part in parts)
    if plain and member.isdir() and len(parts) == 1:
        return None
    if plain and (parts[0] == "artifacts" or (parts == ["."])):
        return None
    if member.isreg() and plain and (name in _FILES or (len(parts) == 2 and parts[0] in _IMAGES)):
        return name
    if member.issym() and plain and _is_parent(parts, member.linkname):
        return name
    if not name or name == ".":
        return None
    if parts[0] == "volumes":
        raise InvalidInput(f"{path} has a volume in it ({name}), which cannot be restored.")
    raise InvalidInput(
        f"{path} is not an archive of a checkpoint: it has a member {name!r}, which has no business there."
    )


def _is_parent(parts: t.Sequence[str], target: str) -> bool:
    """Whether it is the link of images to those before them, and not in a circle, which CRIU would go round for ever."""
    if len(parts) != 2 or parts[0] not in _IMAGES or parts[1] != _PARENT or not target.startswith("../"):
        return False
    return target[3:] in _IMAGES[_IMAGES.index(parts[0]) + 1 :]


def unpack(path: str, directory: str, *, pipe: t.BinaryIO | None = None) -> None:
    """Unpack an archive into an empty directory, no more than there is room for. ``pipe`` is where it is read from instead
    of from a file. Raises InvalidInput, EngineError."""
    space = os.statvfs(directory)
    room = space.f_bavail * space.f_frsize
    found: Members = {}
    with _open(path, pipe) as tar:
        for number, member in enumerate(tar):
            name = _known(member, path)
            if number > _MOST_MEMBERS:
                raise InvalidInput(f"{path} has more than {_MOST_MEMBERS} members.")
            if name is None:
                continue
            if name in found or os.path.lexists(f"{directory}/{name}"):
                raise InvalidInput(f"{path} has two members {name!r}.")
            os.makedirs(os.path.dirname(f"{directory}/{name}"), mode=0o711, exist_ok=True)
            if member.issym():
                os.symlink(member.linkname, f"{directory}/{name}")
                continue
            room -= member.size
            if room < 0:
                raise EngineError(f"There is no room in {directory} for {path} unpacked.")
            found[name] = _extract(tar, member, f"{directory}/{name}")
    _verify(path, directory, found)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> tuple[int, str]:
    source = tar.extractfile(member)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as target:
        reader = _Reader(t.cast(t.IO[bytes], source))
        shutil.copyfileobj(reader, target, _CHUNK)
    return reader.result()


def _verify(path: str, directory: str, found: Members) -> None:
    for name in ("spec.dump", "config.dump", "checkpoint/inventory.img"):
        if name not in found:
            raise InvalidInput(f"{path} is not an archive of a whole checkpoint: it has no {name}.")
    if MANIFEST not in found:
        return  # podman's
    with open(f"{directory}/{MANIFEST}", "rb") as stream:
        manifest = _json(stream.read(), MANIFEST, path)
    recorded = manifest.get("members")
    recorded = recorded if isinstance(recorded, dict) else {}
    for name in sorted({*recorded, *found} - {MANIFEST}):
        if list(found.get(name, ())) != recorded.get(name):
            raise InvalidInput(f"{path} is damaged: the member {name} is not what was packed.")
