# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tarfile
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import (
    archive_reader,
    archive_writer,
    compression,
    layout,
    rootfs_diff,
    signatures,
)
from ansible_collections.longshore.oci.plugins.module_utils._archive.layout import MANIFEST, SIGNATURE
from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Manifest
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    InvalidOption,
    LongshoreError,
    MissingPrerequisite,
)

pytestmark = pytest.mark.pure

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


def pack(stored: str, path: pathlib.Path, kind: str = "none", log: str | None = None) -> str:
    archive_writer.pack(stored, str(path), compression=kind, log=log, manifest=Manifest("web").with_members)
    return str(path)


def peek(path: str, verify: archive_reader.Verify | None = None) -> archive_reader.Documents:
    with archive_reader.Archive(path, verify) as opened:
        return opened.peek(room=1 << 40)


def unpack(path: str, directory: pathlib.Path, verify: archive_reader.Verify | None = None) -> pathlib.Path:
    directory.mkdir()
    with archive_reader.Archive(path, verify) as opened:
        opened.unpack(str(directory))
    return directory


@pytest.mark.impure
@pytest.mark.parametrize("kind", ["none", "gzip", "zstd"])
def test_what_is_packed_comes_out_again(stored: str, tmp_path: pathlib.Path, kind: str) -> None:
    if kind == "zstd" and compression.check(None) != "zstd":
        with pytest.raises(MissingPrerequisite, match="needs the program zstd"):
            compression.check("zstd")
        return
    log = tmp_path / "log"
    log.write_text("said\n")
    path = pack(stored, tmp_path / "web.tar", kind, str(log))
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [name for name in os.listdir(tmp_path) if not name.startswith("web.tar.")]
    directory = unpack(path, tmp_path / "unpacked")
    assert (directory / "ctr.log").read_text() == "said\n"
    assert os.readlink(directory / "checkpoint" / "parent") == "../pre-checkpoint"
    assert not (directory / "dump.log").exists()
    for name in ("checkpoint/pages-1.img", "pre-checkpoint/pages-1.img", "spec.dump"):
        assert (directory / name).read_bytes() == pathlib.Path(stored, name).read_bytes()
        assert os.stat(directory / name).st_mode & 0o777 == 0o600
    found = peek(path)
    assert found.spec == SPEC
    assert found.manifest is not None
    assert found.manifest.digest == layout.digest(layout.measure(stored))


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
    with pytest.raises(InvalidOption, match="unexpected member"):
        unpack(path, tmp_path / "unpacked")


def raw_header(
    name: bytes,
    *,
    size: bytes = b"00000000007",
    kind: bytes = b"0",
    mode: bytes = b"0000600",
    mtime: bytes = b"00000000000",
    uid: bytes = b"0000000",
) -> bytes:
    """A header of ustar, with numbers that no tar would write."""
    fields = name.ljust(100, b"\0") + b"0000600\0" + uid.ljust(8, b"\0") + b"0000000\0" + size.ljust(12, b"\0")
    fields += b"00000000000\0" + b" " * 8 + kind + b"\0" * 100 + b"ustar\00000"
    block = fields.ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def pax(**values: str) -> bytes:
    """A pax header for the next member; its values may be anything."""
    lines = []
    for key, value in values.items():
        text = f" {key.replace('__', '.')}={value}\n".encode("utf-8", "surrogateescape")
        length = len(text) + len(str(len(text) + 3))
        lines.append(str(length).encode() + text)
    data = b"".join(lines)
    return raw_header(b"pax", size=b"%011o" % len(data), kind=b"x") + data.ljust(-(-len(data) // 512) * 512, b"\0")


def base256(number: int) -> bytes:
    return (b"\xff" if number < 0 else b"\x80") + (number % (1 << 88)).to_bytes(11, "big")


BODY = b"escaped".ljust(512, b"\0")
PAGES = b"checkpoint/pages-1.img"
# Each is put in front of a good archive.
ODD_MEMBERS = {
    "size": raw_header(PAGES, size=base256((1 << 63) - 1)) + BODY,
    "size of what is skipped": raw_header(b"artifacts/x", size=base256((1 << 63) - 1)) + BODY,
    "size of a directory": raw_header(b"checkpoint", size=base256((1 << 63) - 1), kind=b"5"),
    "negative size": raw_header(PAGES, size=base256(-512)) + BODY,
    "size of pax": pax(size=str(99999999999999)) + raw_header(PAGES) + BODY,
    "negative size of pax": pax(size="-1024") + raw_header(PAGES) + BODY,
    "size of pax that is no number": pax(size="many") + raw_header(PAGES) + BODY,
    "size of pax with many digits": pax(size="9" * 5000) + raw_header(PAGES) + BODY,
    "a pax header without end": raw_header(b"pax", size=base256(1 << 40), kind=b"x") + BODY,
    "a long name without end": raw_header(b"long", size=base256(1 << 40), kind=b"L") + BODY,
    "a global header": raw_header(b"g", size=base256(1 << 40), kind=b"g") + BODY,
    "time nan": pax(mtime="nan") + raw_header(PAGES) + BODY,
    "time inf": pax(mtime="-inf") + raw_header(PAGES) + BODY,
    "time 1e30": pax(mtime="1e30") + raw_header(PAGES) + BODY,
    "owner": pax(uid=str(1 << 40)) + raw_header(PAGES) + BODY,
    "negative owner": raw_header(PAGES, uid=b"\xff" * 8) + BODY,
    "owner that is no number": pax(uid="root") + raw_header(PAGES) + BODY,
    "a name of 300 characters": pax(path="checkpoint/" + "a" * 300) + raw_header(PAGES) + BODY,
    "a name of 70,000 characters": pax(path="checkpoint/" + "a/" * 35_000) + raw_header(PAGES) + BODY,
    "a name with a line in it": pax(path="checkpoint/a\tb\x1b[2J") + raw_header(PAGES) + BODY,
    "a file with a slash": pax(path="checkpoint/b/") + raw_header(PAGES) + BODY,
    "a directory as a file": raw_header(b"checkpoint") + BODY,
    "a document as a directory": raw_header(b"spec.dump/", size=b"0", kind=b"5"),
    "an image as a directory": raw_header(b"checkpoint/pages-1.img/", size=b"0", kind=b"5"),
    "the link of images as a file": raw_header(b"checkpoint/parent") + BODY,
    "a hidden image": raw_header(b"checkpoint/.hidden") + BODY,
    "an unknown kind": raw_header(PAGES, kind=b"Z") + BODY,
    "an unknown kind of what is skipped": raw_header(b"artifacts/x", kind=b"Z", size=base256((1 << 63) - 1)) + BODY,
    "sparse": pax(GNU__sparse__major="1", GNU__sparse__minor="0", GNU__sparse__realsize="999999999999")
    + raw_header(PAGES) + b"1\n0\n7\n".ljust(512, b"\0") + BODY,
    "sparse of GNU": raw_header(PAGES, size=base256((1 << 63) - 1), kind=b"S") + BODY,
    "sparse of what is skipped": raw_header(b"artifacts/x", size=base256((1 << 63) - 1), kind=b"S") + BODY,
    "odd sparse": pax(GNU__sparse__map="x,y", GNU__sparse__size="z") + raw_header(PAGES) + BODY,
    "more odd sparse": pax(GNU__sparse__major="1", GNU__sparse__minor="0") + raw_header(PAGES) + b"x\n".ljust(512, b"\0") + BODY,
    "an odd pax header": raw_header(b"pax", size=b"00000000010", kind=b"x") + b"0 a=b\n".ljust(512, b"\0") + raw_header(PAGES) + BODY,
    "a pax header without a length": raw_header(b"pax", size=b"00000000010", kind=b"x") + b"99999 a".ljust(512, b"\0") + raw_header(PAGES) + BODY,
    "an odd charset": pax(hdrcharset="x", path="checkpoint/x") + raw_header(PAGES) + BODY,
    "numbers that are none": raw_header(PAGES, size=b"zzzzzzzzzzz") + BODY,
}  # fmt: skip


@pytest.mark.impure  # Held to a time, and writes each one.
@pytest.mark.parametrize("name", ODD_MEMBERS)
@pytest.mark.parametrize("kind", ["none", "gzip"])
def test_odd_headers_are_refused_at_once(tmp_path: pathlib.Path, stored: str, name: str, kind: str) -> None:
    path = tmp_path / "bad.tar"
    data = ODD_MEMBERS[name] + pathlib.Path(pack(stored, tmp_path / "good.tar")).read_bytes()
    path.write_bytes(gzip.compress(data) if kind == "gzip" else data)
    started = time.monotonic()
    for read in (peek, lambda bad: unpack(bad, tmp_path / "unpacked")):
        with pytest.raises(LongshoreError, match=re.escape(str(path))) as refused:
            read(str(path))
        assert len(refused.value.message) < 500
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        (raw_header(b"pax", size=b"00000000010", kind=b"g") + b"8 a=bcd\n".ljust(512, b"\0"), "about all members"),
        (pax(comment="x") * 9, "too many headers"),
    ],
    ids=["about all", "many about one"],
)
def test_headers_that_only_fill_memory(tmp_path: pathlib.Path, stored: str, headers: bytes, says: str) -> None:
    path = tmp_path / "bad.tar"
    path.write_bytes(headers + pathlib.Path(pack(stored, tmp_path / "good.tar")).read_bytes())
    for read in (peek, lambda bad: unpack(bad, tmp_path / "unpacked")):
        with pytest.raises(InvalidOption, match=says):
            read(str(path))


@pytest.mark.impure
def test_a_document_of_any_size_is_not_read_into_memory(tmp_path: pathlib.Path, stored: str) -> None:
    with tarfile.open(tmp_path / "big.tar", "w") as tar:
        header = tarfile.TarInfo("spec.dump")
        header.size = 64 << 20
        tar.addfile(header, io.BytesIO(b" " * header.size))
        for name in ("config.dump", "checkpoint/inventory.img"):
            tar.add(f"{stored}/{name}", name)
    for read in (peek, lambda bad: unpack(bad, tmp_path / "unpacked")):
        with pytest.raises(InvalidOption, match="it is too large"):
            read(str(tmp_path / "big.tar"))


@pytest.mark.impure
def test_mutated_archives(tmp_path: pathlib.Path, stored: str) -> None:
    """Some hundred of them, always the same ones: refused in a sentence or whole, and nothing is written elsewhere."""
    random.seed(1300)
    good = pathlib.Path(pack(stored, tmp_path / "good.tar")).read_bytes()
    (tmp_path / "in").mkdir()
    deadline = time.monotonic() + 60
    outcomes = {"refused": 0, "whole": 0}
    for number in range(300):
        data = bytearray(good)
        headers = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
        for _change in range(random.randint(1, 4)):
            kind = random.randrange(5)
            at = random.choice(headers)
            if kind == 0:
                data[random.randrange(len(data))] = random.randrange(256)
            elif kind == 1:  # any field of a header, with a checksum that is right
                start, length = random.choice(
                    [(0, 100), (100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (156, 1), (157, 100), (345, 100)]
                )
                data[at + start : at + start + length] = random.choice(
                    [
                        random.randbytes(length),
                        b"\xff" * length,
                        b"\x80".ljust(length, b"\xff"),
                        b"7" * length,
                        b"\0" * length,
                    ]
                )
            elif kind == 2:
                data[at:at] = random.choice(list(ODD_MEMBERS.values()))
            elif kind == 3:
                del data[random.randrange(len(data)) :]
            else:
                data[at:at] = data[random.choice(headers) :][:1024]
            headers = [at for at in range(0, len(data) - 512, 512) if data[at + 257 : at + 262] == b"ustar"] or [0]
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % (sum(data[at : at + 512]) & 0o777777)
        path, directory = tmp_path / "in" / "bad.tar", tmp_path / "in" / f"unpacked-{number}"
        path.write_bytes(gzip.compress(bytes(data)) if number % 3 == 0 else bytes(data))
        for read in (peek, lambda bad, directory=directory: unpack(bad, directory)):
            try:
                read(str(path))
                outcomes["whole"] += 1
            except LongshoreError:
                outcomes["refused"] += 1
        target = tmp_path / "in" / "root"
        target.mkdir(exist_ok=True)
        with contextlib.suppress(LongshoreError):
            rootfs_diff.apply(str(target), str(path), [])
        assert time.monotonic() < deadline
        shutil.rmtree(directory)
        shutil.rmtree(target)
    assert outcomes["refused"] > 500, outcomes
    assert sorted(os.listdir(tmp_path)) == ["good.tar", "in", "stored"]


@pytest.mark.impure
class TestSignatures:
    @pytest.fixture
    def signed(self, stored: str, tmp_path: pathlib.Path) -> str:
        for name in ("key", "other"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
            subprocess.run(argv, check=True, timeout=60)
        archive_writer.pack(
            stored, str(tmp_path / "signed.tar"), compression="none", log=None, manifest=Manifest("web").with_members,
            sign=lambda text: signatures.sign(text, str(tmp_path / "key")),
        )  # fmt: skip
        return str(tmp_path / "signed.tar")

    @staticmethod
    def refused(path: str, tmp_path: pathlib.Path, key: str = "key") -> str:
        def verify(text: bytes, signature: bytes) -> None:
            signatures.verify(text, signature, [str(tmp_path / f"{key}.pub")], what=path)

        said = []
        for read in (lambda: peek(path, verify), lambda: unpack(path, tmp_path / "unpacked", verify)):
            shutil.rmtree(tmp_path / "unpacked", ignore_errors=True)
            try:
                read()
                said.append("")
            except InvalidOption as exc:
                said.append(exc.message)
        assert bool(said[0]) == bool(said[1])
        return said[1]

    def test_one_that_is_good(self, signed: str, tmp_path: pathlib.Path) -> None:
        assert self.refused(signed, tmp_path) == ""
        with tarfile.open(signed) as tar:
            assert [member.name for member in tar][-2:] == [MANIFEST, SIGNATURE]
        # Who asks for no signature reads it too.
        peek(signed)

    def test_one_that_is_not(self, signed: str, stored: str, tmp_path: pathlib.Path) -> None:
        assert "is not by a key in" in self.refused(signed, tmp_path, "other")
        assert "is not signed" in self.refused(pack(stored, tmp_path / "plain.tar"), tmp_path)
        with tarfile.open(tmp_path / "podman.tar", "w") as tar:
            for name in ("spec.dump", "config.dump", "checkpoint/inventory.img"):
                tar.add(f"{stored}/{name}", name)
        assert "is not signed" in self.refused(str(tmp_path / "podman.tar"), tmp_path)

    def test_any_byte_that_is_another(self, signed: str, tmp_path: pathlib.Path) -> None:
        """In each member, and of each header what has a meaning: an empty directory has none."""
        data = pathlib.Path(signed).read_bytes()
        with tarfile.open(signed) as tar:
            members = tar.getmembers()
        regular = [member for member in members if member.isreg() and member.name != SIGNATURE]
        places = [each.offset_data + where for each in regular for where in (0, each.size // 2, each.size - 2)]
        places += [each.offset + where for each in regular for where in (0, 5, 134)]
        places += [each.offset + where for each in members if each.issym() for where in (0, 5, 157, 161)]
        places.append(members[-1].offset_data + members[-1].size // 2)
        for place in places:
            changed = bytearray(data)
            changed[place] ^= 1
            block = place - place % 512
            if changed[block + 257 : block + 262] == b"ustar":
                changed[block + 148 : block + 156] = b" " * 8
                changed[block + 148 : block + 156] = b"%06o\0 " % sum(changed[block : block + 512])
            (tmp_path / "changed.tar").write_bytes(bytes(changed))
            assert self.refused(str(tmp_path / "changed.tar"), tmp_path), place

    def test_more_less_and_other_members(self, signed: str, stored: str, tmp_path: pathlib.Path) -> None:
        more = hostile(tmp_path / "more.tar", ("checkpoint/more.img", tarfile.REGTYPE, ""), base=signed)
        assert "was changed" in self.refused(more, tmp_path)
        twice = hostile(tmp_path / "twice.tar", (MANIFEST, tarfile.REGTYPE, ""), base=signed)
        assert "two members" in self.refused(twice, tmp_path)
        link = hostile(
            tmp_path / "link.tar", ("pre-checkpoint-2/parent", tarfile.SYMTYPE, "../pre-checkpoint"), base=signed
        )
        assert "were changed" in self.refused(link, tmp_path)
        for lost in ("checkpoint/parent", "checkpoint/pages-1.img", SIGNATURE, MANIFEST):
            with tarfile.open(signed) as source, tarfile.open(tmp_path / "less.tar", "w") as target:
                for member in source:
                    if member.name != lost:
                        target.addfile(member, source.extractfile(member) if member.isreg() else None)
            assert self.refused(str(tmp_path / "less.tar"), tmp_path), lost


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
    for read in (peek, lambda bad: unpack(bad, tmp_path / "unpacked")):
        with pytest.raises(InvalidOption):
            read(path)
    assert [str(found) for found in tmp_path.rglob("*escaped*")] == []


def test_what_is_missing_damaged_or_twice(tmp_path: pathlib.Path, stored: str) -> None:
    good = pack(stored, tmp_path / "good.tar")
    with pytest.raises(InvalidOption, match="There is no archive"):
        peek(str(tmp_path / "nothing"))
    with pytest.raises(InvalidOption, match="damaged"):
        peek(stored + "/spec.dump")
    with pytest.raises(InvalidOption, match="two members"):
        unpack(
            hostile(tmp_path / "twice.tar", ("checkpoint/inventory.img", tarfile.REGTYPE, ""), base=good),
            tmp_path / "a",
        )
    with pytest.raises(InvalidOption, match="was changed"):
        unpack(hostile(tmp_path / "more.tar", ("checkpoint/more.img", tarfile.REGTYPE, ""), base=good), tmp_path / "b")
    data = pathlib.Path(good).read_bytes()
    where = data.index(b"inventory", data.index(b"checkpoint/inventory.img") + 30)
    (tmp_path / "flipped.tar").write_bytes(data[:where] + b"X" + data[where + 1 :])
    with pytest.raises(InvalidOption, match=r"checkpoint/inventory\.img was changed"):
        unpack(str(tmp_path / "flipped.tar"), tmp_path / "c")
    with pytest.raises(InvalidOption):
        unpack(hostile(tmp_path / "little.tar", ("spec.dump", tarfile.REGTYPE, "")), tmp_path / "d")


def test_no_more_is_unpacked_than_there_is_room_for(
    tmp_path: pathlib.Path, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header that promises more than there is, as that of a bomb."""
    good = pack(stored, tmp_path / "good.tar")
    space = os.statvfs(tmp_path)
    small = os.statvfs_result((space.f_bsize, 1, 100, 100, 1, *tuple(space)[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    with pytest.raises(LongshoreError, match="not enough space"):
        unpack(good, tmp_path / "unpacked")


@pytest.mark.impure
@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_an_archive_where_others_can_write(stored: str, tmp_path: pathlib.Path, mode: int) -> None:
    (tmp_path / "shared").mkdir()
    path = str(tmp_path / "shared" / "web.tar")
    pack(stored, pathlib.Path(path))
    peek(path)
    (tmp_path / "shared").chmod(mode)
    with pytest.raises(InvalidOption, match="can be changed by users other than"):
        peek(path)
    with pytest.raises(InvalidOption, match="can be changed by users other than"):
        pack(stored, pathlib.Path(path))
    (tmp_path / "shared").chmod(0o1777)
    peek(path)
    os.chown(path, 4242, 0)
    with pytest.raises(InvalidOption, match="belongs to 4242"):
        peek(path)


class TestOneOpenFile:
    """What is unpacked is what was looked at, whatever becomes of the name or the file in between."""

    @pytest.mark.impure
    @pytest.mark.parametrize("kind", ["none", "gzip", "zstd"])
    def test_another_file_takes_its_name(self, stored: str, tmp_path: pathlib.Path, kind: str) -> None:
        if kind == "zstd" and compression.check(None) != "zstd":
            pytest.skip("There is no zstd.")
        path = pack(stored, tmp_path / "web.tar", kind)
        with archive_reader.Archive(path) as opened:
            before = opened.peek(room=1 << 40)
            pathlib.Path(stored, "checkpoint", "pages-1.img").write_bytes(b"of another")
            pathlib.Path(stored, "spec.dump").write_text(json.dumps({**SPEC, "hostname": "another"}))
            os.rename(pack(stored, tmp_path / "new.tar", kind), path)
            (tmp_path / "unpacked").mkdir()
            assert opened.unpack(str(tmp_path / "unpacked")) == before
        assert (tmp_path / "unpacked" / "checkpoint" / "pages-1.img").read_bytes() != b"of another"
        assert peek(path).spec["hostname"] == "another"

    @pytest.mark.impure
    @pytest.mark.parametrize("kind", ["none", "gzip", "zstd"])
    def test_the_file_is_written_to(self, stored: str, tmp_path: pathlib.Path, kind: str) -> None:
        """With another archive that is whole, and so passes each check of its own."""
        if kind == "zstd" and compression.check(None) != "zstd":
            pytest.skip("There is no zstd.")
        path = pack(stored, tmp_path / "web.tar", kind)
        with archive_reader.Archive(path) as opened:
            opened.peek(room=1 << 40)
            pathlib.Path(stored, "checkpoint", "pages-1.img").write_bytes(b"of another")
            pathlib.Path(path).write_bytes(pathlib.Path(pack(stored, tmp_path / "new.tar", kind)).read_bytes())
            (tmp_path / "unpacked").mkdir()
            with pytest.raises(InvalidOption, match=r"web\.tar was changed while it was read"):
                opened.unpack(str(tmp_path / "unpacked"))

    def test_a_signature_is_one_of_what_is_unpacked(self, stored: str, tmp_path: pathlib.Path) -> None:
        path = pack(stored, tmp_path / "web.tar")
        checked: list[bytes] = []
        good = [True]

        def verify(text: bytes, _signature: bytes) -> None:
            checked.append(text)
            if not good[0]:
                raise InvalidOption("not signed by whom it must be")

        archive_writer.pack(
            stored, path, compression="none", log=None, manifest=Manifest("web").with_members, sign=lambda _text: b"x"
        )
        with archive_reader.Archive(path, verify) as opened:
            opened.peek(room=1 << 40)
            opened.peek(room=1 << 40)
            good[0] = False
            (tmp_path / "unpacked").mkdir()
            with pytest.raises(InvalidOption, match="not signed by whom"):
                opened.unpack(str(tmp_path / "unpacked"))
        assert len(checked) == 2
        assert checked[1] == (tmp_path / "unpacked" / MANIFEST).read_bytes()

    def test_it_is_closed(
        self, stored: str, tmp_path: pathlib.Path, open_files: t.Callable[[], dict[str, str]]
    ) -> None:
        path = pack(stored, tmp_path / "web.tar")
        before = open_files()
        with archive_reader.Archive(path) as opened:
            opened.peek(room=1 << 40)
            assert open_files() != before
        assert open_files() == before
