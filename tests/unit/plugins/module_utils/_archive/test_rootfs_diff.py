# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import os
import pathlib
import subprocess
import tarfile

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import rootfs_diff, sparse
from ansible_collections.longshore.oci.plugins.module_utils._base import files
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._trust import tree_walk
from ansible_collections.longshore.oci.tests.unit.deep import deepen

pytestmark = pytest.mark.pure


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
    assert rootfs_diff.pack(str(source), str(tmp_path / "tar")) is None
    assert os.stat(tmp_path / "tar").st_mode & 0o777 == 0o600
    rootfs_diff.apply(str(target), str(tmp_path / "tar"), None)
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
    rootfs_diff.pack(str(source), str(tmp_path / "tar"))
    rootfs_diff.apply(str(target), str(tmp_path / "tar"), ["/gone", "never/was"])
    assert sorted(os.listdir(target)) == ["kept", "made"]
    rootfs_diff.apply(str(target), None, ["kept"])
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
    with pytest.raises((InvalidOption, LongshoreError)):
        rootfs_diff.apply(str(target), make(tmp_path / "tar", *members), [])
    assert [str(found) for found in tmp_path.rglob("*escaped*")] == []
    assert (tmp_path / "outside").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["../outside", "there/outside", "/", "a/../../outside"])
def test_a_deletion_that_wants_to_be_elsewhere(tmp_path: pathlib.Path, name: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "outside").write_text("secret")
    (target / "there").symlink_to("..")
    if ".." in name or name == "/":
        with pytest.raises(InvalidOption):
            rootfs_diff.apply(str(target), None, [name])
    else:
        rootfs_diff.apply(str(target), None, [name])
    assert (tmp_path / "outside").read_text() == "secret"


@pytest.mark.impure
def test_an_absolute_name_counts_from_the_root(tmp_path: pathlib.Path) -> None:
    (tmp_path / "target").mkdir()
    rootfs_diff.apply(str(tmp_path / "target"), make(tmp_path / "tar", ("/made", tarfile.REGTYPE, "")), [])
    assert os.listdir(tmp_path / "target") == ["made"]


@pytest.mark.impure
def test_a_link_is_replaced_and_never_followed(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "outside").write_text("secret")
    (target / "name").symlink_to("../outside")
    rootfs_diff.apply(str(target), make(tmp_path / "tar", ("name", tarfile.REGTYPE, "")), [])
    assert (tmp_path / "outside").read_text() == "secret"
    assert not (target / "name").is_symlink()


class TestSparse:
    def _pack(self, tmp_path: pathlib.Path) -> str:
        assert rootfs_diff.pack(f"{tmp_path}/source", f"{tmp_path}/tar") is None
        return f"{tmp_path}/tar"

    @pytest.mark.impure
    @pytest.mark.parametrize(
        ("size", "pieces"),
        [
            (2 << 30, {}),
            (2 << 30, {0: b"start"}),
            (2 << 30, {1 << 20: b"middle" * 1000, (1 << 30) + 5: b"x" * 10000}),
            ((2 << 30) + 3, {2 << 30: b"end"}),
            (1 << 40, {5: b"a"}),
        ],
    )
    def test_holes_take_no_room(self, tmp_path: pathlib.Path, size: int, pieces: dict[int, bytes]) -> None:
        (tmp_path / "source/deep").mkdir(parents=True)
        with open(tmp_path / "source/deep/file", "wb") as stream:
            for offset, data in pieces.items():
                stream.seek(offset)
                stream.write(data)
            stream.truncate(size)
        os.setxattr(tmp_path / "source/deep/file", "user.note", b"kept")
        os.link(tmp_path / "source/deep/file", tmp_path / "source/linked")
        path = self._pack(tmp_path)
        assert os.stat(path).st_size < 200_000
        assert rootfs_diff.measure(f"{tmp_path}/source") < 200_000
        (tmp_path / "target").mkdir()
        rootfs_diff.apply(f"{tmp_path}/target", path, None)
        # As others read it too.
        (tmp_path / "tarred").mkdir()
        subprocess.run(["tar", "-xf", path, "-C", f"{tmp_path}/tarred"], check=True)
        for name in ("target/deep/file", "target/linked", "tarred/deep/file"):
            status = os.stat(tmp_path / name)
            assert (status.st_size, status.st_blocks < 400) == (size, True)
            with open(tmp_path / name, "rb") as stream:
                for offset, data in pieces.items():
                    stream.seek(offset)
                    assert stream.read(len(data)) == data
        assert os.getxattr(tmp_path / "target/deep/file", "user.note") == b"kept"
        assert os.path.samefile(tmp_path / "target/deep/file", tmp_path / "target/linked")

    def test_a_bomb_is_refused_and_nothing_is_written(self, tmp_path: pathlib.Path) -> None:
        """100 GiB of holes are nothing, and what is really there has to have room."""
        (tmp_path / "target").mkdir()
        (tmp_path / "target/old").write_text("old")
        with tarfile.open(tmp_path / "tar", "w") as tar:
            member = tarfile.TarInfo("large")
            member.size = (1 << 42) - 1024
            tar.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))
        os.truncate(tmp_path / "tar", 1 << 42)
        with pytest.raises(LongshoreError, match="There is not enough space to restore the root file system"):
            rootfs_diff.apply(f"{tmp_path}/target", f"{tmp_path}/tar", [])
        assert os.listdir(tmp_path / "target") == ["old"]

    def test_one_that_ends_too_early(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "source").mkdir()
        with open(tmp_path / "source/file", "wb") as stream:
            stream.truncate(1 << 30)
            stream.seek(1 << 29)
            stream.write(b"x" * 100_000)
        path = self._pack(tmp_path)
        os.truncate(path, 60_000)
        (tmp_path / "target").mkdir()
        with pytest.raises(InvalidOption, match="cannot be read"):
            rootfs_diff.apply(f"{tmp_path}/target", path, None)

    def test_one_of_too_many_pieces_is_refused_before_the_dump(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sparse, "_MOST_PIECES", 3)
        (tmp_path / "source").mkdir()
        with open(tmp_path / "source/file", "wb") as stream:
            for number in range(5):
                stream.seek(number << 20)
                stream.write(b"x")
        with pytest.raises(InvalidOption, match="has more than 3 pieces"):
            rootfs_diff.measure(f"{tmp_path}/source")

    @pytest.mark.parametrize(
        "pieces", ["500,1,400,1", "0,10,5,10", "0,1048576,9,-1048570", "5,1,4,1", "1999,5", "0,5,0,5"]
    )  # fmt: skip
    def test_pieces_that_no_writer_has(self, tmp_path: pathlib.Path, pieces: str) -> None:
        """tarfile reads them again and again, and finds wrong ones."""
        (tmp_path / "target").mkdir()
        with tarfile.open(tmp_path / "tar", "w", format=tarfile.PAX_FORMAT) as tar:
            member = tarfile.TarInfo("file")
            member.size = 100
            member.pax_headers = {"GNU.sparse.map": pieces, "GNU.sparse.size": "2000"}
            tar.addfile(member, io.BytesIO(b"x" * 100))
        with pytest.raises(InvalidOption, match="its pieces are not in order"):
            rootfs_diff.apply(f"{tmp_path}/target", f"{tmp_path}/tar", [])
        assert os.listdir(tmp_path / "target") == []


class TestDepth:
    @pytest.mark.impure
    def test_it_is_packed_and_made_and_removed(self, tmp_path: pathlib.Path) -> None:
        for name in ("source", "target"):
            (tmp_path / name).mkdir()
        deepen(tmp_path / "source", 3000)
        deepen(tmp_path / "target", 3000, "other")
        assert rootfs_diff.measure(f"{tmp_path}/source") > 3000 * 1000
        rootfs_diff.pack(f"{tmp_path}/source", f"{tmp_path}/tar")
        rootfs_diff.apply(f"{tmp_path}/target", f"{tmp_path}/tar", None)
        paths = [entry.path for entry in tree_walk.walk(f"{tmp_path}/target")]
        assert paths == [entry.path for entry in tree_walk.walk(f"{tmp_path}/source")]
        for name in ("source", "target"):
            files.remove_tree(f"{tmp_path}/{name}")

    @pytest.mark.impure  # It makes and removes a deep tree.
    def test_names_may_be_as_long_as_they_are_packed(self, tmp_path: pathlib.Path) -> None:
        for name in ("source", "target"):
            (tmp_path / name).mkdir()
        deepen(tmp_path / "source", 80, "n" * 200)
        rootfs_diff.measure(f"{tmp_path}/source")
        rootfs_diff.pack(f"{tmp_path}/source", f"{tmp_path}/tar")
        rootfs_diff.apply(f"{tmp_path}/target", f"{tmp_path}/tar", None)
        assert len([entry.path for entry in tree_walk.walk(f"{tmp_path}/target")]) >= 80
        for name in ("source", "target"):
            files.remove_tree(f"{tmp_path}/{name}")

    def test_a_path_that_is_far_too_long_is_refused_before_the_dump(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "source").mkdir()
        deepen(tmp_path / "source", 100, "n" * 255)
        with pytest.raises(InvalidOption, match="a path in it has more than 16384 characters"):
            rootfs_diff.measure(f"{tmp_path}/source")
        files.remove_tree(f"{tmp_path}/source")


@pytest.mark.parametrize(
    "values",
    [
        {"mtime": "nan"}, {"mtime": "1e30"}, {"mtime": "-inf"}, {"uid": str(1 << 40)}, {"uid": "-1"}, {"gid": "x"}, {"size": "-512"},
        {"size": str(1 << 62)}, {"path": "a" * 300}, {"path": "a/" * 9000}, {"linkpath": "x" * 17000}, {"GNU.sparse.map": "a"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, {"GNU.sparse.map": "0,99999999999999", "GNU.sparse.size": "99999999999999"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
def test_odd_numbers_and_names(tmp_path: pathlib.Path, values: dict[str, str], kind: bytes) -> None:
    """Refused in a sentence, before anything is made; or without a meaning for this kind."""
    (tmp_path / "root").mkdir()
    with tarfile.open(tmp_path / "diff.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("first"))
        member = tarfile.TarInfo("second")
        member.type, member.linkname, member.pax_headers = kind, "x" if kind == tarfile.SYMTYPE else "", values
        tar.addfile(member)
    try:
        rootfs_diff.apply(str(tmp_path / "root"), str(tmp_path / "diff.tar"), [])
    except LongshoreError as exc:
        message = exc.message
        assert os.listdir(tmp_path / "root") == [] or "Cannot change the root file system" in message
        assert len(message) < 500


def test_no_more_than_there_is_room_for(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    with tarfile.open(tmp_path / "diff.tar", "w") as tar:
        for name in ("a", "b"):
            member = tarfile.TarInfo(name)
            member.size = 3000
            tar.addfile(member, io.BytesIO(b"x" * 3000))
    space = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((4096, 1000, 100, 5, 5, *tuple(space)[5:])))
    with pytest.raises(LongshoreError, match="There is not enough space"):
        rootfs_diff.apply(str(tmp_path / "root"), str(tmp_path / "diff.tar"), [])
    assert os.listdir(tmp_path / "root") == []
