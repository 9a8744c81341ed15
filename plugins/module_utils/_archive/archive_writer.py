# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the archive of a checkpoint: the members that podman writes and checkpointctl reads, and a manifest of Longshore.

The layout is that of ``podman container checkpoint --export`` (libpod, container_internal_common.go; checkpointctl, lib).
A stored checkpoint is a directory with the same members.
"""

from __future__ import annotations

import io
import json
import os
import typing as t

from .._base.errors import LongshoreError, reason_of
from .._trust import trust
from . import archive_file
from .compression import compressor
from .layout import IMAGES, LOG, MANIFEST, PARENT, SIGNATURE, HashingReader, Members, members_in

if t.TYPE_CHECKING:
    import tarfile

    from .manifest import Manifest

Sign = t.Callable[[bytes], bytes]  # returns the signature of a manifest


def pack(
    directory: str, path: str, *, compression: str, log: str | None, manifest: t.Callable[[Members], Manifest],
    pipe: t.IO[bytes] | None = None, sign: Sign | None = None,
) -> None:  # fmt: skip
    """Write the archive of a stored checkpoint with mode 0600. It appears in one step.

    ``log`` is the log of the container, or None. ``manifest`` creates Longshore's member when the others are known.
    ``pipe`` is the destination instead of a file. ``sign`` signs the manifest.
    """
    if pipe is not None:
        try:
            with compressor(pipe, compression) as packed:
                _write(directory, packed, log, manifest, sign)
            pipe.flush()
        except OSError as exc:
            raise LongshoreError(f"Cannot write the archive into the pipe {path}: {reason_of(exc)}.") from exc
        return
    trust.check(path, "The archive", missing=True)
    try:
        notes = os.path.dirname(directory)
        with archive_file.replacing(path, notes) as stream, compressor(stream, compression) as packed:
            _write(directory, packed, log, manifest, sign)
    except OSError as exc:
        raise LongshoreError(f"Cannot write the archive {path}: {reason_of(exc)}.") from exc


def _write(
    directory: str, stream: t.IO[bytes], log: str | None, manifest: t.Callable[[Members], Manifest], sign: Sign | None
) -> None:  # fmt: skip
    import tarfile

    found: Members = {}
    links: dict[str, str] = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        sources = [*members_in(directory), *([(LOG, log)] if log and os.path.isfile(log) else [])]
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
                reader = HashingReader(source)
                tar.addfile(header, t.cast(t.IO[bytes], reader))  # Reads exactly this size, also from a growing log.
            found[name] = reader.result()
        text = json.dumps({**manifest(found).to_json(), "links": links}, indent=2).encode()
        tar.addfile(_header(MANIFEST, size=len(text)), io.BytesIO(text))
        if sign:
            signature = sign(text)
            tar.addfile(_header(SIGNATURE, size=len(signature)), io.BytesIO(signature))


def _header(name: str, *, size: int = 0, kind: bytes = b"0", mode: int = 0o600) -> tarfile.TarInfo:
    import tarfile

    header = tarfile.TarInfo(name)
    header.size, header.type, header.mode = size, kind, mode
    return header
