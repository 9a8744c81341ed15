# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse files in a tar, in the format of GNU tar for pax archives, version 1.0 (tar manual, "Storing Sparse Files"). tarfile,
Go (podman) and GNU tar can read it, but tarfile cannot write it."""

from __future__ import annotations

import errno
import io
import os
import typing as t

from .._base.errors import InvalidOption

if t.TYPE_CHECKING:
    import tarfile

_BLOCK = 512
_AT_ONCE = 1 << 20
_MOST_PIECES = 1 << 17


def is_sparse(status: os.stat_result) -> bool:
    return status.st_blocks * 512 < status.st_size


def pieces_of(descriptor: int, size: int) -> list[tuple[int, int]]:
    """Return offset and length of the data in a sparse file. Raises InvalidOption for too many pieces."""
    found: list[tuple[int, int]] = []
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
            break
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        found.append((start, end - start))
        if len(found) > _MOST_PIECES:
            raise InvalidOption(f"A sparse file in the root file system has more than {_MOST_PIECES} pieces.")
    return found


class _Pieces(io.RawIOBase):
    """The map of a sparse file and then its data, without the holes. Truncated data reads as zeros."""

    def __init__(self, head: bytes, pieces: t.Sequence[tuple[int, int]], source: t.BinaryIO) -> None:
        self._head, self._pieces, self._source = head, list(pieces)[::-1], source

    def read(self, size: int = -1) -> bytes:
        found = bytearray(self._head[:size])
        self._head = self._head[size:]
        while len(found) < size and self._pieces:
            offset, length = self._pieces.pop()
            wanted = min(length, size - len(found))
            data = os.pread(self._source.fileno(), wanted, offset)
            found += data + bytes(wanted - len(data))
            if wanted < length:
                self._pieces.append((offset + wanted, length - wanted))
        return bytes(found)


def add(tar: tarfile.TarFile, header: tarfile.TarInfo, source: t.BinaryIO) -> None:
    """Write a member for a sparse file. Its header has the packed size, and the real size as an extension."""
    pieces = pieces_of(source.fileno(), header.size)
    if not pieces or sum(pieces[-1]) < header.size:
        pieces.append((header.size, 0))  # The end, for a hole at the end.
    text = "".join(f"{number}\n" for number in (len(pieces), *(each for piece in pieces for each in piece))).encode()
    head = text + bytes(-len(text) % _BLOCK)
    directory, _slash, name = header.name.rpartition("/")
    header.pax_headers = {
        **header.pax_headers, "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": header.name,
        "GNU.sparse.realsize": str(header.size),
    }  # fmt: skip
    header.name = f"{directory or '.'}/GNUSparseFile.0/{name}"
    header.size = len(head) + sum(length for _offset, length in pieces)
    tar.addfile(header, t.cast(t.IO[bytes], _Pieces(head, pieces, source)))


def fill(member: tarfile.TarInfo, source: t.IO[bytes], target: t.BinaryIO) -> None:
    """Write the pieces of a sparse member to their offsets. Holes need no space."""
    for offset, length in getattr(member, "sparse", None) or ():
        source.seek(offset)
        target.seek(offset)
        left = length
        while left:
            data = source.read(min(left, _AT_ONCE))
            if not data:
                raise EOFError(f"{member.name} ends too early")
            target.write(data)
            left -= len(data)
    target.flush()
    target.truncate(member.size)
