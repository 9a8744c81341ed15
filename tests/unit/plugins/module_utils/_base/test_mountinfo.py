# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of mounts: lines that kernels write, lines that no kernel should write, and real mounts at odd names."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._base.mountinfo import Mount
from ansible_collections.longshore.oci.tests.unit.odd_names import ODD_NAMES

pytestmark = pytest.mark.pure

PLAIN = Mount("36", "35", "98:0", "/a", "/b", ("rw", "noatime"), "ext3", "/dev/root", "rw,errors=continue")
# By line: the mount that it tells of, None for a line that tells of none.
LINES: list[tuple[bytes, Mount | None]] = [
    (b"36 35 98:0 /a /b rw,noatime - ext3 /dev/root rw,errors=continue", PLAIN),
    # Optional fields: none, one, several, and one that a kernel of tomorrow may have.
    (b"36 35 98:0 /a /b rw,noatime master:1 - ext3 /dev/root rw,errors=continue", PLAIN),
    (b"36 35 98:0 /a /b rw,noatime shared:1 master:2 propagate_from:3 new - ext3 /dev/root rw,errors=continue", PLAIN),
    (b"36 35 98:0 /a /b rw,noatime unbindable - ext3 /dev/root rw,errors=continue", PLAIN),
    # Escapes, decoded once.
    (b"1 2 0:1 / /a\\040b rw - tmpfs t rw", Mount("1", "2", "0:1", "/", "/a b", ("rw",), "tmpfs", "t", "rw")),
    (b"1 2 0:1 / /a\\011b rw - tmpfs t rw", Mount("1", "2", "0:1", "/", "/a\tb", ("rw",), "tmpfs", "t", "rw")),
    (b"1 2 0:1 / /a\\012b rw - tmpfs t rw", Mount("1", "2", "0:1", "/", "/a\nb", ("rw",), "tmpfs", "t", "rw")),
    (b"1 2 0:1 / /a\\134b rw - tmpfs t rw", Mount("1", "2", "0:1", "/", "/a\\b", ("rw",), "tmpfs", "t", "rw")),
    (b"1 2 0:1 / /a\\134040b rw - tmpfs t rw", Mount("1", "2", "0:1", "/", "/a\\040b", ("rw",), "tmpfs", "t", "rw")),
    (b"1 2 0:1 /r\\040t / rw - tmpfs a\\043b\\040c rw", Mount("1", "2", "0:1", "/r t", "/", ("rw",), "tmpfs", "a#b c", "rw")),
    # No escape at all: too short, and a number that no byte has.
    (b"1 2 0:1 / /a\\04 rw - tmpfs t rw", Mount("1", "2", "0:1", "/", "/a\\04", ("rw",), "tmpfs", "t", "rw")),
    (b"1 2 0:1 / /a\\777 rw - tmpfs t rw", Mount("1", "2", "0:1", "/", "/a\\777", ("rw",), "tmpfs", "t", "rw")),
    # What else ends a line for Python, and bytes that are not UTF-8.
    (b"1 2 0:1 / /a\r\x0b\x0c\x1c\xc2\x85b rw - tmpfs t rw",
     Mount("1", "2", "0:1", "/", os.fsdecode(b"/a\r\x0b\x0c\x1c\xc2\x85b"), ("rw",), "tmpfs", "t", "rw")),
    (b"1 2 0:1 / /a\xff\xfe rw - tmpfs t rw", Mount("1", "2", "0:1", "/", os.fsdecode(b"/a\xff\xfe"), ("rw",), "tmpfs", "t", "rw")),
    # An empty source (mount -t tmpfs ""), one that is a dash, and a type with a subtype.
    (b"1 2 0:1 / /a rw - tmpfs  rw,size=1k", Mount("1", "2", "0:1", "/", "/a", ("rw",), "tmpfs", "", "rw,size=1k")),
    (b"1 2 0:1 / /a rw - tmpfs - rw", Mount("1", "2", "0:1", "/", "/a", ("rw",), "tmpfs", "-", "rw")),
    (b"1 2 0:1 / /a rw - fuse.sshfs me@there:/x\\040y rw,user_id=0",
     Mount("1", "2", "0:1", "/", "/a", ("rw",), "fuse.sshfs", "me@there:/x y", "rw,user_id=0")),
    # A directory that was removed while it was mounted elsewhere; a namespace.
    (b"1 2 0:1 /x//deleted /a rw - ext4 /dev/vda rw", Mount("1", "2", "0:1", "/x//deleted", "/a", ("rw",), "ext4", "/dev/vda", "rw")),
    (b"1 2 0:4 net:[4026532] /run/netns/a rw - nsfs nsfs rw",
     Mount("1", "2", "0:4", "net:[4026532]", "/run/netns/a", ("rw",), "nsfs", "nsfs", "rw")),
    # Lines that end early still tell where something is mounted.
    (b"1 2 0:1 / /a rw", Mount("1", "2", "0:1", "/", "/a", ("rw",))),
    (b"1 2 0:1 / /a", Mount("1", "2", "0:1", "/", "/a", ())),
    (b"1 2 0:1 / /a rw - tmpfs", Mount("1", "2", "0:1", "/", "/a", ("rw",), "tmpfs")),
    (b"1 2 0:1 /", None),
    (b"broken", None),
    (b"", None),
]  # fmt: skip


@pytest.mark.parametrize(("line", "mount"), LINES)
def test_a_line(line: bytes, mount: Mount | None) -> None:
    assert list(mountinfo.parse(line + b"\n")) == ([mount] if mount else [])


def test_a_table_keeps_its_order() -> None:
    assert list(mountinfo.parse(b"\n".join(line for line, _mount in LINES))) == [
        mount for _line, mount in LINES if mount
    ]


def test_no_table_is_not_an_empty_table(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        mountinfo.read(str(tmp_path / "mountinfo"))


@pytest.mark.impure
@pytest.mark.parametrize("name", ODD_NAMES)
def test_real_mounts(tmp_path: pathlib.Path, name: str) -> None:
    """One over the other, by what this kernel writes: the upper one comes last."""
    place = tmp_path / name
    place.mkdir()
    try:
        for source in ("lower", "up per#\\"):
            subprocess.run(["mount", "-t", "tmpfs", source, place], check=True)
        found = [mount for mount in mountinfo.read() if mount.place == str(place)]
    finally:
        subprocess.run(["umount", "-q", place], check=False)
        subprocess.run(["umount", "-q", place], check=False)
    assert [(mount.kind, mount.source) for mount in found] == [("tmpfs", "lower"), ("tmpfs", "up per#\\")]
    assert found[1].parent == found[0].id
    assert [mount for mount in mountinfo.read() if mount.place == str(place)] == []


@pytest.mark.parametrize(
    ("kind", "is_remote"),
    [
        ("nfs", True), ("nfs4", True), ("fuse", True), ("fuse.sshfs", True), ("fuseblk", True), ("cifs", True), ("smb3", True),
        ("9p", True), ("ceph", True), ("autofs", True), ("virtiofs", True), ("ext4", False), ("overlay", False), ("tmpfs", False),
        ("fusectl", False), ("nfsd", False), ("cgroup2", False), ("", False),
    ],
)  # fmt: skip
def test_kinds_that_may_not_answer(kind: str, is_remote: bool) -> None:
    assert mountinfo.is_remote(kind) is is_remote
