# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import os
import pathlib
import tarfile

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import tar_members
from ansible_collections.longshore.oci.tests.unit.plugins.module_utils._archive.test_archive_reader import (
    BODY,
    base256,
    pax,
    raw_header,
)

pytestmark = pytest.mark.pure

GOOD = raw_header(b"file") + BODY


def _names(data: bytes, *, most: int = 100, room: int = 1 << 40) -> list[str]:
    found = []
    with tar_members.opened(fileobj=io.BytesIO(data + bytes(1024)), mode="r|") as tar:
        for member in tar_members.members(tar, most=most, room=room):
            found.append(member.name)
            tar_members.skip(tar, member)
    return found


def test_plain_ones() -> None:
    assert _names(GOOD + pax(path="another") + GOOD) == ["file", "another"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (raw_header(b"x", size=base256(-512)), "size"), (raw_header(b"x", size=base256(1 << 62)) + BODY, "size cannot be"),
        (pax(uid=str(1 << 40)) + GOOD, "owner cannot be"), (pax(mtime="nan") + GOOD, "time cannot be"), (pax(mtime="1e30") + GOOD, "time cannot be"),
        (pax(path="a" * 256) + GOOD, "name is too long"), (pax(path="a/" * 9000) + GOOD, "its name is not valid"),
        (pax(comment="x") * 9 + GOOD, "too many headers"), (raw_header(b"g", size=b"00000000000", kind=b"g"), "about all members"),
        (raw_header(b"pax", size=base256(1 << 40), kind=b"x"), "size"),
        (raw_header(b"dir", kind=b"5"), "size cannot be 7"),
    ],
)  # fmt: skip
def test_odd_ones_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(tarfile.TarError, match=says):
        _names(data)


def test_no_more_than_so_many() -> None:
    assert _names(GOOD * 3, most=3) == ["file"] * 3
    with pytest.raises(tarfile.TarError, match="more than 2 members"):
        _names(GOOD * 3, most=2)


def test_no_more_than_there_is_room_for() -> None:
    assert _names(GOOD, room=7) == ["file"]
    with pytest.raises(tarfile.TarError, match="size cannot be 7"):
        _names(GOOD, room=6)


def test_the_size_without_holes() -> None:
    member = tarfile.TarInfo("file")
    member.size = 100
    assert tar_members.stored_size(member) == 100
    member.sparse = [(0, 5), (50, 6)]  # type: ignore[assignment]
    assert tar_members.stored_size(member) == 11


def test_the_room_of_a_directory_that_will_be_made(tmp_path: pathlib.Path) -> None:
    space = os.statvfs(tmp_path)
    assert tar_members.room_in(f"{tmp_path}/not/yet") == pytest.approx(space.f_bavail * space.f_frsize, rel=0.2)
