# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import os
import pathlib
import tarfile
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import sparse

pytestmark = pytest.mark.pure


def _sparse(path: pathlib.Path, size: int, *pieces: tuple[int, bytes]) -> t.BinaryIO:
    with open(path, "wb") as stream:
        stream.truncate(size)
        for offset, data in pieces:
            stream.seek(offset)
            stream.write(data)
    return open(path, "rb")


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (1 << 20, []), (1 << 20, [(0, b"begin")]), (1 << 20, [((1 << 20) - 3, b"end")]), (3 << 20, [(0, b"a"), (1 << 20, b"b" * 5000), (2 << 20, b"c")]),
        (4096 * 5 + 7, [(8192, b"x")]),
    ],
)  # fmt: skip
def test_what_is_packed_is_filled_in(tmp_path: pathlib.Path, size: int, pieces: list[tuple[int, bytes]]) -> None:
    with _sparse(tmp_path / "file", size, *pieces) as source:
        assert sparse.is_sparse(os.fstat(source.fileno()))
        expected = source.read()
        with tarfile.open(tmp_path / "tar", "w", format=tarfile.PAX_FORMAT) as tar:
            header = tarfile.TarInfo("a/file")
            header.size = size
            sparse.add(tar, header, source)
    assert os.path.getsize(tmp_path / "tar") < 65536
    with tarfile.open(tmp_path / "tar") as tar, open(tmp_path / "out", "wb") as target:
        member = tar.getmember("a/file")
        data = tar.extractfile(member)
        assert data is not None
        sparse.fill(member, data, target)
    assert (tmp_path / "out").read_bytes() == expected
    assert sparse.is_sparse(os.stat(tmp_path / "out"))


def test_the_pieces_of_a_file(tmp_path: pathlib.Path) -> None:
    with _sparse(tmp_path / "file", 3 << 20, (0, b"a"), (2 << 20, b"b")) as source:
        found = sparse.pieces_of(source.fileno(), 3 << 20)
    assert [offset for offset, _length in found] == [0, 2 << 20]
    assert all(0 < length < 1 << 20 for _offset, length in found)
    with _sparse(tmp_path / "hole", 1 << 20) as source:
        assert sparse.pieces_of(source.fileno(), 1 << 20) == []


def test_one_that_ends_too_early(tmp_path: pathlib.Path) -> None:
    member = tarfile.TarInfo("file")
    member.size, member.sparse = 100, [(0, 10)]  # type: ignore[assignment]
    with open(tmp_path / "out", "wb") as target, pytest.raises(EOFError, match="file ends too early"):
        sparse.fill(member, io.BytesIO(b"short"), target)
