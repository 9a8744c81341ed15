# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import os
import pathlib
import tarfile
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._engine import archive, archive_pipe
from ansible_collections.longshore.oci.plugins.module_utils._engine.errors import (
    DeadlineExceeded,
    EngineError,
    InvalidInput,
)
from ansible_collections.longshore.oci.plugins.module_utils._engine.waiting import Deadline

SPEC = {"root": {"path": "/srv/web/rootfs"}, "process": {}}


@pytest.fixture
def stored(tmp_path: pathlib.Path) -> str:
    """A stored checkpoint, as far as archives go."""
    directory = tmp_path / "stored"
    (directory / "checkpoint").mkdir(parents=True)
    (directory / "pre-checkpoint").mkdir()
    (directory / "checkpoint" / "inventory.img").write_bytes(b"inventory")
    (directory / "checkpoint" / "pages-1.img").write_bytes(os.urandom(5000))
    (directory / "checkpoint" / "parent").symlink_to("../pre-checkpoint")
    (directory / "pre-checkpoint" / "pages-1.img").write_bytes(b"before")
    (directory / "spec.dump").write_text(json.dumps(SPEC))
    (directory / "config.dump").write_text('{"name": "web"}')
    (directory / "dump.log").write_text("not for others")
    return str(directory)


def pack(stored: str, path: pathlib.Path, compression: str = "none", log: str | None = None) -> str:
    def manifest(members: archive.Members) -> dict[str, t.Any]:
        return {"format": 1, "name": "web", "members": members, "digest": archive.digest(members)}

    archive.pack(stored, str(path), compression=compression, log=log, manifest=manifest)
    return str(path)


def unpack(path: str, directory: pathlib.Path) -> pathlib.Path:
    directory.mkdir()
    archive.unpack(path, str(directory))
    return directory


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_what_is_packed_comes_out_again(stored: str, tmp_path: pathlib.Path, compression: str) -> None:
    if compression == "zstd" and archive.check_compression(None) != "zstd":
        with pytest.raises(InvalidInput, match="needs the program zstd"):
            archive.check_compression("zstd")
        return
    log = tmp_path / "log"
    log.write_text("said\n")
    path = pack(stored, tmp_path / "web.tar", compression, str(log))
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [name for name in os.listdir(tmp_path) if not name.startswith("web.tar.")]
    directory = unpack(path, tmp_path / "unpacked")
    assert (directory / "ctr.log").read_text() == "said\n"
    assert os.readlink(directory / "checkpoint" / "parent") == "../pre-checkpoint"
    assert not (directory / "dump.log").exists()
    for name in ("checkpoint/pages-1.img", "pre-checkpoint/pages-1.img", "spec.dump"):
        assert (directory / name).read_bytes() == pathlib.Path(stored, name).read_bytes()
        assert os.stat(directory / name).st_mode & 0o777 == 0o600
    assert archive.peek(path)["spec.dump"] == SPEC
    assert archive.peek(path)[archive.MANIFEST]["digest"] == archive.digest(archive.measure(stored))


def test_all_rounds_travel_along(stored: str, tmp_path: pathlib.Path) -> None:
    second = pathlib.Path(stored, "pre-checkpoint-2")
    second.mkdir()
    (second / "pages-1.img").write_bytes(b"between")
    (second / "parent").symlink_to("../pre-checkpoint")
    link = pathlib.Path(stored, "checkpoint", "parent")
    link.unlink()
    link.symlink_to("../pre-checkpoint-2")
    directory = unpack(pack(stored, tmp_path / "web.tar"), tmp_path / "unpacked")
    # From the last images back to the first.
    assert (directory / "checkpoint" / "parent" / "parent" / "pages-1.img").read_bytes() == b"before"
    assert (directory / "checkpoint" / "parent" / "pages-1.img").read_bytes() == b"between"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("pre-checkpoint-2/parent", "../pre-checkpoint-2"),
        ("pre-checkpoint-2/parent", "../pre-checkpoint-3"),
        ("pre-checkpoint/parent", "../checkpoint"),
        ("pre-checkpoint-10/parent", "../pre-checkpoint"),
        ("checkpoint/parent", "../pre-checkpoint/../.."),
        ("checkpoint/parent", "/etc"),
        ("checkpoint/pages-1.img", "../pre-checkpoint"),
    ],
)
def test_no_link_leads_in_a_circle_or_out(tmp_path: pathlib.Path, name: str, target: str) -> None:
    path = hostile(tmp_path / "bad.tar", (name, tarfile.SYMTYPE, target))
    with pytest.raises(InvalidInput, match="has no business there"):
        unpack(path, tmp_path / "unpacked")


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


def test_the_log_does_not_change_the_digest() -> None:
    members: archive.Members = {"spec.dump": (2, "ab")}
    assert archive.digest({**members, "ctr.log": (3, "cd")}) == archive.digest(members)
    assert archive.digest({"spec.dump": (2, "ac")}) != archive.digest(members)


def hostile(path: pathlib.Path, *members: tuple[str, bytes, str], base: str | None = None) -> str:
    with tarfile.open(path, "w") as tar:
        if base:
            with tarfile.open(base) as good:
                for header in good:
                    tar.addfile(header, good.extractfile(header) if header.isreg() else None)
        for name, kind, target in members:
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, target
            header.size = 7 if kind == tarfile.REGTYPE else 0
            tar.addfile(header, io.BytesIO(b"escaped"))
    return str(path)


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("../escaped", tarfile.REGTYPE, ""),
        ("/escaped", tarfile.REGTYPE, ""),
        ("checkpoint/../../escaped", tarfile.REGTYPE, ""),
        ("checkpoint/a/b", tarfile.REGTYPE, ""),
        ("escaped", tarfile.REGTYPE, ""),
        ("checkpoint/link", tarfile.SYMTYPE, "/etc/passwd"),
        ("checkpoint/parent", tarfile.SYMTYPE, "../../../etc"),
        ("checkpoint", tarfile.SYMTYPE, "/tmp"),
        ("spec.dump", tarfile.SYMTYPE, "/etc/passwd"),
        ("checkpoint/hard", tarfile.LNKTYPE, "/etc/passwd"),
        ("checkpoint/null", tarfile.CHRTYPE, ""),
        ("checkpoint/disk", tarfile.BLKTYPE, ""),
        ("checkpoint/fifo", tarfile.FIFOTYPE, ""),
        ("checkpoint/..", tarfile.DIRTYPE, ""),
        ("volumes/data.tar", tarfile.REGTYPE, ""),
    ],
)
def test_a_member_that_has_no_business_there(
    tmp_path: pathlib.Path, stored: str, name: str, kind: bytes, target: str
) -> None:
    good = pack(stored, tmp_path / "good.tar")
    path = hostile(tmp_path / "bad.tar", (name, kind, target), base=good)
    for read in (archive.peek, lambda bad: unpack(bad, tmp_path / "unpacked")):
        with pytest.raises(InvalidInput):
            read(path)
    assert [str(found) for found in tmp_path.rglob("*escaped*")] == []


def test_what_is_missing_damaged_or_twice(tmp_path: pathlib.Path, stored: str) -> None:
    good = pack(stored, tmp_path / "good.tar")
    with pytest.raises(InvalidInput, match="There is no archive"):
        archive.peek(str(tmp_path / "nothing"))
    with pytest.raises(InvalidInput, match="damaged"):
        archive.peek(stored + "/spec.dump")
    with pytest.raises(InvalidInput, match="two members"):
        unpack(
            hostile(tmp_path / "twice.tar", ("checkpoint/inventory.img", tarfile.REGTYPE, ""), base=good),
            tmp_path / "a",
        )
    with pytest.raises(InvalidInput, match="not what was packed"):
        unpack(hostile(tmp_path / "more.tar", ("checkpoint/more.img", tarfile.REGTYPE, ""), base=good), tmp_path / "b")
    data = pathlib.Path(good).read_bytes()
    where = data.index(b"inventory", data.index(b"checkpoint/inventory.img") + 30)
    (tmp_path / "flipped.tar").write_bytes(data[:where] + b"X" + data[where + 1 :])
    with pytest.raises(InvalidInput, match=r"checkpoint/inventory\.img is not what was packed"):
        unpack(str(tmp_path / "flipped.tar"), tmp_path / "c")
    with pytest.raises(InvalidInput):
        unpack(hostile(tmp_path / "little.tar", ("spec.dump", tarfile.REGTYPE, "")), tmp_path / "d")


def test_no_more_is_unpacked_than_there_is_room_for(
    tmp_path: pathlib.Path, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header that promises more than there is, as that of a bomb."""
    good = pack(stored, tmp_path / "good.tar")
    space = os.statvfs(tmp_path)
    small = os.statvfs_result((space.f_bsize, 1, 100, 100, 1, *tuple(space)[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    with pytest.raises(EngineError, match="no room"):
        unpack(good, tmp_path / "unpacked")


def test_nothing_half_is_left_of_an_archive(stored: str, tmp_path: pathlib.Path) -> None:
    def manifest(_members: archive.Members) -> dict[str, t.Any]:
        raise RuntimeError

    (tmp_path / "web.tar").write_text("the one before")
    with pytest.raises(RuntimeError):
        archive.pack(stored, str(tmp_path / "web.tar"), compression="gzip", log=None, manifest=manifest)
    assert sorted(os.listdir(tmp_path)) == ["stored", "web.tar"]
    assert (tmp_path / "web.tar").read_text() == "the one before"


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_an_archive_where_others_can_write(stored: str, tmp_path: pathlib.Path, mode: int) -> None:
    (tmp_path / "shared").mkdir()
    path = str(tmp_path / "shared" / "web.tar")
    archive.pack(stored, path, compression="none", log=None, manifest=lambda members: {"members": members})
    archive.peek(path)
    (tmp_path / "shared").chmod(mode)
    with pytest.raises(InvalidInput, match="can be changed by others"):
        archive.peek(path)
    with pytest.raises(InvalidInput, match="can be changed by others"):
        archive.pack(stored, path, compression="none", log=None, manifest=lambda members: {"members": members})
    (tmp_path / "shared").chmod(0o1777)
    archive.peek(path)
    os.chown(path, 4242, 0)
    with pytest.raises(InvalidInput, match="belongs to 4242"):
        archive.peek(path)


class TestPipes:
    @pytest.fixture
    def pipe(self, tmp_path: pathlib.Path) -> str:
        path = str(tmp_path / "pipe")
        os.mkfifo(path, 0o600)
        return path

    @pytest.mark.parametrize("compression", ["none", "gzip"])
    def test_what_goes_in_comes_out(self, stored: str, tmp_path: pathlib.Path, pipe: str, compression: str) -> None:
        """With more in it than a pipe holds."""
        (pathlib.Path(stored) / "checkpoint" / "pages-2.img").write_bytes(os.urandom(3 << 20))
        target = tmp_path / "unpacked"
        target.mkdir()

        def receive() -> None:
            with archive_pipe.reader(pipe, Deadline(30)) as stream:
                archive.unpack(pipe, str(target), pipe=stream)

        receiver = threading.Thread(target=receive)
        receiver.start()
        while True:
            try:
                stream = archive_pipe.writer(pipe, Deadline(30))
                break
            except InvalidInput:  # The other thread has not got that far.
                threading.Event().wait(0.01)
        with stream:
            archive.pack(
                stored, pipe, compression=compression, log=None, pipe=stream,
                manifest=lambda members: {"format": 1, "name": "web", "members": members},
            )  # fmt: skip
        receiver.join()
        assert (target / "checkpoint" / "pages-2.img").read_bytes() == (
            pathlib.Path(stored) / "checkpoint" / "pages-2.img"
        ).read_bytes()
        assert (target / archive.MANIFEST).exists()

    @pytest.mark.parametrize(("owner", "mode"), [(0, 0o666), (0, 0o620), (0, 0o640), (0, 0o604), (4242, 0o600)])
    def test_a_pipe_that_others_can_open(self, pipe: str, owner: int, mode: int) -> None:
        os.chown(pipe, owner, 0)
        os.chmod(pipe, mode)
        # With a reader, or there would be another reason.
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            for attempt in (
                lambda: archive_pipe.writer(pipe, Deadline(1)), lambda: archive_pipe.reader(pipe, Deadline(1)),
                lambda: archive_pipe.check_pipe(pipe),
            ):  # fmt: skip
                with pytest.raises(InvalidInput, match=r"is open to other users|can be changed by others"):
                    attempt()
        finally:
            os.close(reader)

    def test_a_link_to_a_pipe(self, pipe: str) -> None:
        os.symlink(pipe, f"{pipe}-link")
        assert archive_pipe.is_pipe(f"{pipe}-link")
        for attempt in (archive_pipe.check_pipe, lambda path: archive_pipe.reader(path, Deadline(1))):
            with pytest.raises(InvalidInput, match=r"is not a pipe itself|Too many levels of symbolic links"):
                attempt(f"{pipe}-link")

    def test_nobody_reads(self, pipe: str) -> None:
        with pytest.raises(InvalidInput, match="Nobody reads the pipe"):
            archive_pipe.writer(pipe, Deadline(30))

    def test_nobody_comes(self, pipe: str, tmp_path: pathlib.Path) -> None:
        with archive_pipe.reader(pipe, Deadline(0.1)) as stream, pytest.raises(DeadlineExceeded, match="in time"):
            archive.unpack(pipe, str(tmp_path), pipe=stream)

    def test_nobody_takes_it(self, pipe: str, stored: str) -> None:
        (pathlib.Path(stored) / "checkpoint" / "pages-2.img").write_bytes(os.urandom(3 << 20))
        with archive_pipe.reader(pipe, Deadline(30)):
            stream = archive_pipe.writer(pipe, Deadline(0.1))
            with pytest.raises(DeadlineExceeded, match="in time"):
                archive.pack(stored, pipe, compression="none", log=None, pipe=stream, manifest=lambda _members: {})
            with pytest.raises(DeadlineExceeded):
                stream.close()

    def test_the_sender_gives_up(self, pipe: str, tmp_path: pathlib.Path) -> None:
        with archive_pipe.reader(pipe, Deadline(30)) as stream:
            archive_pipe.writer(pipe, Deadline(30)).close()
            with pytest.raises(InvalidInput, match="not an archive of a checkpoint, or it is damaged"):
                archive.unpack(pipe, str(tmp_path), pipe=stream)

    def test_the_receiver_gives_up(self, pipe: str, stored: str) -> None:
        (pathlib.Path(stored) / "checkpoint" / "pages-2.img").write_bytes(os.urandom(3 << 20))
        with archive_pipe.reader(pipe, Deadline(30)):
            stream = archive_pipe.writer(pipe, Deadline(30))
        with pytest.raises(EngineError, match="Cannot write the archive into the pipe"):
            archive.pack(stored, pipe, compression="none", log=None, pipe=stream, manifest=lambda _members: {})

    def test_zstd_does_not_go_through(self) -> None:
        assert archive.check_compression(None, pipe=True) == "none"
        with pytest.raises(InvalidInput, match="does not go through a pipe"):
            archive.check_compression("zstd", pipe=True)
