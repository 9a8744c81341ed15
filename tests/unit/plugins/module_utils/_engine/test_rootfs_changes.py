# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import os
import pathlib
import tarfile

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._engine import rootfs_changes
from ansible_collections.longshore.oci.plugins.module_utils._engine.errors import EngineError, InvalidInput

MOUNTINFO = """\
36 25 0:32 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
97 25 0:55 / /srv/my\\040web/rootfs rw,relatime - overlay overlay rw,lowerdir=/l/one:/l/two,upperdir=/u\\040p,workdir=/w
98 25 0:56 / /srv/plain rw - ext4 /dev/sda rw
99 25 0:57 / /srv/lower rw - overlay overlay ro,lowerdir=/a:/b
"""


def test_an_overlay_is_known_by_its_mount() -> None:
    assert rootfs_changes.overlay_at("/srv/my web/rootfs", MOUNTINFO) == rootfs_changes.Overlay(
        "/u p", ("/l/one", "/l/two")
    )
    assert rootfs_changes.overlay_at("/srv/plain", MOUNTINFO) is None
    assert rootfs_changes.overlay_at("/srv/lower", MOUNTINFO) is None
    assert rootfs_changes.overlay_at("/srv/web", MOUNTINFO) is None


def tree(path: pathlib.Path) -> dict[str, str]:
    found = {}
    for entry in sorted(path.rglob("*")):
        status = entry.lstat()
        what = os.readlink(entry) if entry.is_symlink() else entry.read_text() if entry.is_file() else ""
        mode = "" if entry.is_symlink() else f"{status.st_mode & 0o7777:o} {status.st_mtime:.3f} "
        found[str(entry.relative_to(path))] = f"{mode}{what}"
    return found


def test_all_of_a_plain_directory_is_packed_and_nothing_else_stays(tmp_path: pathlib.Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "etc" / "deep").mkdir(parents=True)
    (source / "etc" / "name").write_text("new")
    (source / "etc" / "name").chmod(0o4755)
    os.link(source / "etc" / "name", source / "linked")
    (source / "bin").symlink_to("usr/bin")
    os.mkfifo(source / "fifo")
    (source / "etc").chmod(0o2750)
    os.utime(source / "etc", (5, 1.25))
    (target / "etc" / "other").mkdir(parents=True)
    (target / "etc" / "other" / "deleted").write_text("")
    (target / "bin").mkdir()
    (target / "bin" / "deleted").write_text("")
    (target / "etc" / "name").write_text("old")
    assert rootfs_changes.pack(str(source), str(tmp_path / "tar")) is None
    assert os.stat(tmp_path / "tar").st_mode & 0o777 == 0o600
    rootfs_changes.apply(str(target), str(tmp_path / "tar"), None)
    assert tree(target) == tree(source)
    assert os.stat(target / "linked").st_ino == os.stat(target / "etc" / "name").st_ino


def test_changes_leave_the_rest_alone(tmp_path: pathlib.Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for place in (source, target):
        place.mkdir()
    (source / "made").write_text("new")
    (target / "kept").write_text("kept")
    (target / "gone").mkdir()
    (target / "gone" / "with").write_text("")
    rootfs_changes.pack(str(source), str(tmp_path / "tar"))
    rootfs_changes.apply(str(target), str(tmp_path / "tar"), ["/gone", "never/was"])
    assert sorted(os.listdir(target)) == ["kept", "made"]
    rootfs_changes.apply(str(target), None, ["kept"])
    assert os.listdir(target) == ["made"]


def make(path: pathlib.Path, *members: tuple[str, bytes, str]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, kind, target in members:
            header = tarfile.TarInfo(name)
            header.type, header.linkname, header.mode = kind, target, 0o755
            header.size = 7 if kind == tarfile.REGTYPE else 0
            tar.addfile(header, io.BytesIO(b"escaped"))
    return str(path)


@pytest.mark.parametrize(
    "members",
    [
        [("../escaped", tarfile.REGTYPE, "")],
        [("a/../../escaped", tarfile.REGTYPE, "")],
        [("link", tarfile.SYMTYPE, ".."), ("link/escaped", tarfile.REGTYPE, "")],
        [("there/escaped", tarfile.REGTYPE, "")],  # there is a symbolic link in the target
        [("hard", tarfile.LNKTYPE, "../outside")],
        [("hard", tarfile.LNKTYPE, "there/outside")],
        [("null", tarfile.CHRTYPE, "")],
        [("disk", tarfile.BLKTYPE, "")],
        [("no/parent/escaped", tarfile.REGTYPE, "")],
    ],
)
def test_a_tar_that_wants_to_be_elsewhere(tmp_path: pathlib.Path, members: list[tuple[str, bytes, str]]) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "outside").write_text("secret")
    (target / "there").symlink_to("..")
    with pytest.raises((InvalidInput, EngineError)):
        rootfs_changes.apply(str(target), make(tmp_path / "tar", *members), [])
    assert [str(found) for found in tmp_path.rglob("*escaped*")] == []
    assert (tmp_path / "outside").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["../outside", "there/outside", "/", "a/../../outside"])
def test_a_deletion_that_wants_to_be_elsewhere(tmp_path: pathlib.Path, name: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "outside").write_text("secret")
    (target / "there").symlink_to("..")
    if ".." in name or name == "/":
        with pytest.raises(InvalidInput):
            rootfs_changes.apply(str(target), None, [name])
    else:
        rootfs_changes.apply(str(target), None, [name])
    assert (tmp_path / "outside").read_text() == "secret"


def test_an_absolute_name_counts_from_the_root(tmp_path: pathlib.Path) -> None:
    (tmp_path / "target").mkdir()
    rootfs_changes.apply(str(tmp_path / "target"), make(tmp_path / "tar", ("/made", tarfile.REGTYPE, "")), [])
    assert os.listdir(tmp_path / "target") == ["made"]


def test_a_link_is_replaced_and_never_followed(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "outside").write_text("secret")
    (target / "name").symlink_to("../outside")
    rootfs_changes.apply(str(target), make(tmp_path / "tar", ("name", tarfile.REGTYPE, "")), [])
    assert (tmp_path / "outside").read_text() == "secret"
    assert not (target / "name").is_symlink()
