# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import pathlib
import tarfile

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import layout
from ansible_collections.longshore.oci.plugins.module_utils._archive.layout import HashingReader, Member
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption

pytestmark = pytest.mark.pure


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("name", "kind", "target", "known"),
    [
        ("spec.dump", tarfile.REGTYPE, "", "spec.dump"), ("./spec.dump", tarfile.REGTYPE, "", "spec.dump"),
        ("longshore.json.sig", tarfile.REGTYPE, "", "longshore.json.sig"),
        ("checkpoint/pages-1.img", tarfile.REGTYPE, "", "checkpoint/pages-1.img"),
        ("pre-checkpoint-9/a", tarfile.REGTYPE, "", "pre-checkpoint-9/a"),
        ("checkpoint/parent", tarfile.SYMTYPE, "../pre-checkpoint", "checkpoint/parent"),
        ("checkpoint", tarfile.DIRTYPE, "", None), ("checkpoint/", tarfile.DIRTYPE, "", None), (".", tarfile.DIRTYPE, "", None),
        ("artifacts/x/y", tarfile.REGTYPE, "", None), ("other", tarfile.DIRTYPE, "", None),
    ],
)  # fmt: skip
def test_members_that_are_taken_or_passed_over(name: str, kind: bytes, target: str, known: str | None) -> None:
    assert layout.known(_member(name, kind, target), "/x.tar") == known


@pytest.mark.parametrize(
    ("name", "kind", "target", "says"),
    [
        ("volumes/a.tar", tarfile.REGTYPE, "", "contains a volume"), ("other", tarfile.REGTYPE, "", "unexpected member"),
        ("../spec.dump", tarfile.REGTYPE, "", "unexpected member"), ("/spec.dump", tarfile.REGTYPE, "", "unexpected member"),
        ("spec.dump", tarfile.DIRTYPE, "", "unexpected member"), ("checkpoint/parent", tarfile.REGTYPE, "", "unexpected member"),
        ("pre-checkpoint/parent", tarfile.SYMTYPE, "../checkpoint", "unexpected member"), ("pre-checkpoint-1/a", tarfile.REGTYPE, "", "unexpected member"),
        ("checkpoint/" + "a" * 201, tarfile.REGTYPE, "", "unexpected member"), ("checkpoint/a", tarfile.LNKTYPE, "spec.dump", "unexpected member"),
    ],
)  # fmt: skip
def test_members_that_are_refused(name: str, kind: bytes, target: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        layout.known(_member(name, kind, target), "/x.tar")


def test_the_log_does_not_change_the_digest() -> None:
    members = {"spec.dump": Member(2, "ab")}
    assert layout.digest({**members, "ctr.log": Member(3, "cd")}) == layout.digest(members)
    assert layout.digest({"spec.dump": Member(2, "ac")}) != layout.digest(members)


def test_a_reader_counts_and_hashes_what_it_has_read() -> None:
    reader = HashingReader(io.BytesIO(b"abcdef"))
    assert reader.read(2) == b"ab"
    assert reader.result() == Member(2, "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603")
    assert reader.read_all() == Member(6, "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721")


def test_what_is_measured(tmp_path: pathlib.Path) -> None:
    for name in ("checkpoint", "pre-checkpoint-2"):
        (tmp_path / name).mkdir()
    for name in (
        "spec.dump",
        "checkpoint/b.img",
        "checkpoint/a.img",
        "pre-checkpoint-2/a.img",
        "dump.log",
        "longshore.json",
    ):
        (tmp_path / name).write_text(name)
    (tmp_path / "checkpoint" / "parent").symlink_to("../pre-checkpoint-2")
    found = layout.measure(str(tmp_path))
    assert list(found) == ["spec.dump", "checkpoint/a.img", "checkpoint/b.img", "pre-checkpoint-2/a.img"]
    assert found["spec.dump"].size == 9
