# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gzip
import io
import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import compression
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    InvalidOption,
    MissingPrerequisite,
    ProgramFailed,
)

pytestmark = pytest.mark.pure

HAS_ZSTD = compression.check(None) == "zstd"
needs_zstd = pytest.mark.skipif(not HAS_ZSTD, reason="There is no zstd.")
KINDS = ["none", "gzip", pytest.param("zstd", marks=needs_zstd)]


@pytest.mark.parametrize(
    ("head", "kind"), [(b"", "none"), (b"\x1f", "none"), (b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"spec", "none")]
)  # fmt: skip
def test_a_file_is_told_by_its_head(head: bytes, kind: str) -> None:
    assert compression.of(head) == kind


def test_zstd_does_not_go_through_a_pipe() -> None:
    assert compression.check(None, pipe=True) == "none"
    assert compression.check("gzip", pipe=True) == "gzip"
    with pytest.raises(InvalidOption, match="cannot be used with a pipe"):
        compression.check("zstd", pipe=True)


@pytest.mark.impure
def test_a_host_without_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "SEARCH_PATH", "/nowhere")
    assert compression.check(None) == "gzip"
    with pytest.raises(MissingPrerequisite, match="needs the program zstd"):
        compression.check("zstd")


@pytest.mark.impure
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_can_be_read_again(tmp_path: pathlib.Path, kind: str) -> None:
    text = os.urandom(100_000)
    with open(tmp_path / "file", "wb") as target, compression.compressor(target, kind) as packed:
        packed.write(text)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        for length in (10, -1, -1):
            with compression.decompressor(descriptor) as stream:
                assert stream.read(length) == (text if length < 0 else text[:length])
    finally:
        os.close(descriptor)


@pytest.mark.impure
@pytest.mark.parametrize("kind", KINDS)
def test_a_small_file_that_has_changed_is_read_anew(tmp_path: pathlib.Path, kind: str) -> None:
    descriptor = -1
    for text in (b"first", b"other"):
        with open(tmp_path / "file", "wb") as target, compression.compressor(target, kind) as packed:
            packed.write(text)
        descriptor = os.open(tmp_path / "file", os.O_RDONLY) if descriptor < 0 else descriptor
        with compression.decompressor(descriptor) as stream:
            assert stream.read() == text
    os.close(descriptor)


@pytest.mark.impure
@needs_zstd
def test_zstd_says_what_is_wrong(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"\x28\xb5\x2f\xfd" + b"nonsense")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(ProgramFailed, match="zstd says"), compression.decompressor(descriptor) as stream:
            stream.read()
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("text", [b"plain", gzip.compress(b"plain")], ids=["none", "gzip"])
def test_a_pipe(text: bytes) -> None:
    with compression.from_pipe(io.BufferedReader(io.BytesIO(text))) as stream:
        assert stream.read() == b"plain"
