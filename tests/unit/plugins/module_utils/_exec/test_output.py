# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._exec import output
from ansible_collections.longshore.oci.plugins.module_utils._exec.output import Keep, Output, outputs, read_log

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("log", "stdout", "stderr"),
    [
        (b"", b"", b""),
        (b"T stdout F a\nT stderr F b\nT stdout F c d \n", b"a\nc d \n", b"b\n"),
        (b"T stdout P no newline\n", b"no newline", b""),
        (b"T stdout P long T stdout\nT stdout F er\n", b"long T stdouter\n", b""),
        (b"T stdout F \nT stdout F \n", b"\n\n", b""),
        (b"T stdout F a\r\nT stdout F \rb\x00\xff\x0b\x1c\n", b"a\r\n\rb\x00\xff\x0b\x1c\n", b""),
        (b"T stdout F whole\nT stdout F half of a li", b"whole\n", b""),
        (b"nonsense\n\nT stdout\nT stdout F x\n", b"x\n", b""),
    ],
)
def test_logs(tmp_path: pathlib.Path, log: bytes, stdout: bytes, stderr: bytes) -> None:
    (tmp_path / "log").write_bytes(log)
    found = Output(1000), Output(1000)
    read_log(f"{tmp_path}/log", *found)
    assert (found[0].kept, found[1].kept) == (stdout, stderr)
    assert [each.truncated for each in found] == [False, False]


def test_a_log_that_is_gone_says_nothing(tmp_path: pathlib.Path) -> None:
    read_log(f"{tmp_path}/log", Output(1), Output(1))


def test_the_beginning_of_a_log(tmp_path: pathlib.Path) -> None:
    (tmp_path / "log").write_bytes(b"T stdout F 12345678\n" * 100 + b"T stderr F error\n")
    found = Output(12), Output(6)
    read_log(f"{tmp_path}/log", *found)
    assert (found[0].kept, found[0].truncated) == (b"12345678\n123", True)
    assert (found[1].kept, found[1].truncated) == (b"error\n", False)


@pytest.mark.parametrize("data", [b"a", memoryview(b"abc"), b"abcd", b""])
@pytest.mark.parametrize("limit", [0, 1, 3, 100])
def test_the_beginning_is_kept_and_the_rest_is_read(limit: int, data: bytes) -> None:
    stream = Output(limit)
    for _time in range(5):
        stream.take(data)
    assert stream.kept == (bytes(data) * 5)[:limit]
    assert stream.truncated is (len(data) * 5 > limit)


def _of_another_user(path: str) -> None:
    pathlib.Path(path).touch()
    os.chown(path, 1, 1)


class TestFiles:
    def test_all_of_it_is_there(self, tmp_path: pathlib.Path) -> None:
        keep = Keep(2, f"{tmp_path}/out", f"{tmp_path}/err")
        output.check(keep)
        with outputs(keep) as (stdout, stderr):
            stdout.take(b"abc")
            stderr.take(memoryview(b"x"))
            stdout.take(b"def")
        assert (stdout.kept, stdout.truncated, stderr.kept) == (b"ab", True, b"x")
        assert ((tmp_path / "out").read_bytes(), (tmp_path / "err").read_bytes()) == (b"abcdef", b"x")
        assert [os.stat(tmp_path / name).st_mode & 0o7777 for name in ("out", "err")] == [0o600] * 2

    def test_one_for_both(self, tmp_path: pathlib.Path) -> None:
        with outputs(Keep(9, f"{tmp_path}/out", f"{tmp_path}/out")) as (stdout, stderr):
            stdout.take(b"a")
            stderr.take(b"b")
            stdout.take(b"c")
        assert (tmp_path / "out").read_bytes() == b"abc"

    def test_one_of_before_is_written_anew_and_closed_to_others(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "out").write_text("much longer than the new one")
        (tmp_path / "out").chmod(0o644)
        with outputs(Keep(stdout_path=f"{tmp_path}/out")) as (stdout, _stderr):
            stdout.take(b"new")
        assert ((tmp_path / "out").read_text(), os.stat(tmp_path / "out").st_mode & 0o7777) == ("new", 0o600)

    @pytest.mark.impure
    @pytest.mark.parametrize(
        "make",
        [
            lambda path: os.symlink("precious", path),
            lambda path: os.symlink("nowhere", path),
            os.mkfifo,
            os.mkdir,
            lambda path: os.link(f"{os.path.dirname(path)}/precious", path),
            _of_another_user,
        ],
    )
    def test_what_is_in_the_way_is_left_alone(self, tmp_path: pathlib.Path, make: t.Callable[[str], object]) -> None:
        (tmp_path / "precious").write_text("text")
        make(f"{tmp_path}/out")
        keep = Keep(stderr_path=f"{tmp_path}/out")
        with pytest.raises(InvalidOption, match=f"The output cannot be written to {tmp_path}/out: "):
            output.check(keep)
        # And where it came into the way later.
        with pytest.raises(InvalidOption, match=f"The output cannot be written to {tmp_path}/out: "), outputs(keep):
            pass
        assert (tmp_path / "precious").read_text() == "text"
        assert not (tmp_path / "nowhere").exists()

    @pytest.mark.parametrize("path", ["relative", "/nowhere/at/all", "/dev/null/x"])
    def test_where_there_is_no_place(self, path: str) -> None:
        with pytest.raises(InvalidOption, match="no absolute path in a directory"):
            output.check(Keep(stdout_path=path))

    @pytest.mark.impure
    def test_a_disk_that_is_full(self) -> None:
        with open("/dev/full", "wb", buffering=0) as full, pytest.raises(LongshoreError, match="No space left"):
            Output(1, full).take(b"x")
