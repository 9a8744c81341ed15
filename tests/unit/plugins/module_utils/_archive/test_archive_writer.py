# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import tarfile

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import archive_writer, layout
from ansible_collections.longshore.oci.plugins.module_utils._archive.layout import MANIFEST, SIGNATURE
from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Manifest
from ansible_collections.longshore.oci.tests.unit.plugins.module_utils._archive.test_archive_reader import pack, stored

pytestmark = pytest.mark.pure

__all__ = ("stored",)  # the fixture


def test_the_members_are_those_of_podman(stored: str, tmp_path: pathlib.Path) -> None:
    """checkpointctl looks for the directory of the images itself."""
    with tarfile.open(pack(stored, tmp_path / "web.tar")) as tar:
        names = {member.name: member for member in tar}
    assert names["checkpoint"].isdir()
    assert set(names) == {
        "checkpoint", "pre-checkpoint", "checkpoint/parent", "checkpoint/inventory.img", "checkpoint/pages-1.img",
        "pre-checkpoint/pages-1.img", "spec.dump", "config.dump", "longshore.json",
    }  # fmt: skip
    assert list(names)[-1] == "longshore.json"


def test_nothing_half_is_left_of_an_archive(stored: str, tmp_path: pathlib.Path) -> None:
    def manifest(_members: layout.Members) -> Manifest:
        raise RuntimeError

    (tmp_path / "web.tar").write_text("the one before")
    with pytest.raises(RuntimeError):
        archive_writer.pack(stored, str(tmp_path / "web.tar"), compression="gzip", log=None, manifest=manifest)
    assert sorted(os.listdir(tmp_path)) == ["stored", "web.tar"]
    assert (tmp_path / "web.tar").read_text() == "the one before"


def test_what_is_written_of_a_manifest(stored: str, tmp_path: pathlib.Path) -> None:
    """The text that is signed is the one in the archive, and names all members and links."""
    signed: list[bytes] = []

    def sign(text: bytes) -> bytes:
        signed.append(text)
        return b"signature"

    path = f"{tmp_path}/web.tar"
    archive_writer.pack(
        stored, path, compression="none", log=None, manifest=Manifest("web", rootfs="changes").with_members, sign=sign
    )
    with tarfile.open(path) as tar:
        texts = {name: tar.extractfile(name) for name in (MANIFEST, SIGNATURE)}
        found = {name: stream.read() for name, stream in texts.items() if stream}
    assert found == {MANIFEST: signed[0], SIGNATURE: b"signature"}
    value = json.loads(signed[0])
    assert {name: tuple(each) for name, each in value["members"].items()} == layout.measure(stored)
    assert value["links"] == {"checkpoint/parent": "../pre-checkpoint"}
    assert (value["format"], value["name"], value["rootfs"]) == (1, "web", "changes")
