# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import files
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, LongshoreError
from ansible_collections.longshore.oci.tests.unit import programs

pytestmark = pytest.mark.pure


def _mode(path: object) -> int:
    return os.stat(str(path)).st_mode & 0o7777


class TestReading:
    def test_text(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a").write_bytes(b"\xc3\xa9\xff\n")
        assert files.read_text(f"{tmp_path}/a") == "\u00e9\ufffd\n"

    @pytest.mark.parametrize("path", ["nowhere", "nowhere/below", "a/below"])
    def test_what_is_not_there_is_none(self, tmp_path: pathlib.Path, path: str) -> None:
        (tmp_path / "a").write_text("", encoding="utf-8")
        assert files.read_text(f"{tmp_path}/{path}") is None
        assert files.read_json(f"{tmp_path}/{path}") is None
        assert files.read_tail(f"{tmp_path}/{path}") == []

    def test_what_cannot_be_read_is_an_error(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(LongshoreError, match=f"Cannot read {tmp_path}: Is a directory"):
            files.read_text(str(tmp_path))

    @pytest.mark.impure
    def test_a_process_that_is_gone_has_no_files(self, tmp_path: pathlib.Path) -> None:
        """Opened in time, read too late: ESRCH."""
        child = subprocess.Popen(["true"])
        path = f"/proc/{child.pid}/cmdline"
        child.wait()
        assert files.read_text(path) is None

    @pytest.mark.impure
    def test_a_cgroup_that_is_gone_has_no_files(self, scratch_cgroup: str) -> None:
        """Opened in time, read too late: ENODEV. The kernel says it for any file of the removed directory."""
        directory = next(
            path for path in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup") if os.path.exists(f"{path}/cgroup.procs")
        )
        os.mkdir(directory + scratch_cgroup)
        descriptor = os.open(f"{directory}{scratch_cgroup}/cgroup.procs", os.O_RDONLY)
        os.rmdir(directory + scratch_cgroup)
        try:
            with pytest.raises(OSError, match="No such device"):
                os.read(descriptor, 1)
            assert files.read_text(f"/proc/self/fd/{descriptor}") is None
        finally:
            os.close(descriptor)

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", '"a"', '{"a": 1} x'])
    def test_json_that_is_damaged_or_no_object_is_none(self, tmp_path: pathlib.Path, text: str) -> None:
        (tmp_path / "a").write_text(text, encoding="utf-8")
        assert files.read_json(f"{tmp_path}/a") is None

    def test_json(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a").write_text('{"a": [1, null]}', encoding="utf-8")
        assert files.read_json(f"{tmp_path}/a") == {"a": [1, None]}

    def test_the_tail_of_a_log(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "log").write_bytes(b"".join(b"line %d\n" % number for number in range(10000)) + b"\xff no end")
        assert files.read_tail(f"{tmp_path}/log", lines=3) == ["line 9998", "line 9999", "\ufffd no end"]
        assert len(files.read_tail(f"{tmp_path}/log")) == 20
        assert sum(map(len, files.read_tail(f"{tmp_path}/log", lines=10000, limit=100))) < 100

    def test_a_log_that_is_no_file_has_no_tail(self, tmp_path: pathlib.Path) -> None:
        assert files.read_tail(str(tmp_path)) == []
        assert files.read_tail("/dev/null") == []

    @pytest.mark.impure
    def test_a_fifo_in_the_place_of_a_log_is_not_waited_for(self, tmp_path: pathlib.Path) -> None:
        """Opening one blocks until somebody writes, which nobody may ever do."""
        os.mkfifo(tmp_path / "log")
        code = "import importlib, sys; name, path = sys.argv[1:];print(importlib.import_module(name).read_tail(path))"
        command = [sys.executable, "-c", code, files.__name__, f"{tmp_path}/log"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=True, env=programs.python_environment()
        )
        assert done.stdout == "[]\n"


class TestWriting:
    def test_it_replaces_as_a_whole(self, tmp_path: pathlib.Path) -> None:
        """Whoever has the old file open goes on reading the old content."""
        (tmp_path / "a").write_text("old", encoding="utf-8")
        with open(tmp_path / "a", encoding="utf-8") as stream:
            files.write_text(f"{tmp_path}/a", "n\u00e9w")
            assert stream.read() == "old"
        assert (tmp_path / "a").read_text(encoding="utf-8") == "n\u00e9w"
        assert os.listdir(tmp_path) == ["a"]

    @pytest.mark.impure
    def test_no_reader_ever_sees_half_of_it(self, tmp_path: pathlib.Path) -> None:
        path, texts = f"{tmp_path}/a", [json.dumps({letter: letter * 100000}) for letter in "ab"]
        files.write_text(path, texts[0])
        stop, seen = threading.Event(), set()

        def read() -> None:
            while not stop.is_set():
                seen.add(files.read_text(path))

        thread = threading.Thread(target=read)
        thread.start()
        for number in range(200):
            files.write_text(path, texts[number % 2])
        stop.set()
        thread.join()
        assert seen <= set(texts)

    @pytest.mark.parametrize("mode", [0o600, 0o644])
    def test_its_mode(self, tmp_path: pathlib.Path, mode: int) -> None:
        (tmp_path / "a").write_text("", encoding="utf-8")
        os.chmod(tmp_path / "a", 0o666)
        files.write_text(f"{tmp_path}/a", "x", mode=mode)
        assert _mode(tmp_path / "a") == mode

    def test_secrets_are_for_the_owner_alone(self, tmp_path: pathlib.Path) -> None:
        files.write_text(f"{tmp_path}/a", "x")
        assert _mode(tmp_path / "a") == 0o600

    def test_a_failure_leaves_the_old_one_and_nothing_else(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(LongshoreError, match=f"Cannot write {tmp_path}/a: Is a directory"):
            files.write_text(f"{tmp_path}/a", "x")
        assert os.listdir(tmp_path) == ["a"]

    def test_there_must_be_a_place_for_it(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(LongshoreError, match=r"Cannot write .*: No such file or directory"):
            files.write_text(f"{tmp_path}/nowhere/a", "x")


class TestDirectories:
    def test_parents_get_the_mode_too(self, tmp_path: pathlib.Path) -> None:
        files.make_directory(f"{tmp_path}/a/b/c", mode=0o750)
        assert [_mode(tmp_path / path) for path in ("a", "a/b", "a/b/c")] == [0o750] * 3

    def test_the_mode_is_the_same_for_everybody(self, tmp_path: pathlib.Path) -> None:
        """Hardened hosts have a umask of 077, and a container's own user has to reach its notify socket."""
        before = os.umask(0o077)
        try:
            files.make_directory(f"{tmp_path}/a/b", mode=0o755)
            files.write_text(f"{tmp_path}/a/c", "", mode=0o644)
        finally:
            os.umask(before)
        assert [_mode(tmp_path / path) for path in ("a", "a/b", "a/c")] == [0o755, 0o755, 0o644]

    def test_one_that_exists_stays_as_it_is(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a").mkdir(mode=0o711)
        files.make_directory(f"{tmp_path}/a")
        assert _mode(tmp_path / "a") == 0o711

    @pytest.mark.parametrize("path", ["a", "a/b", "dangling"])
    def test_what_is_in_the_way_is_named(self, tmp_path: pathlib.Path, path: str) -> None:
        (tmp_path / "a").write_text("", encoding="utf-8")
        os.symlink("nowhere", tmp_path / "dangling")
        with pytest.raises(LongshoreError, match=f"{tmp_path}/(a|dangling)"):
            files.make_directory(f"{tmp_path}/{path}")

    @pytest.mark.impure  # A race.
    def test_many_at_once(self, tmp_path: pathlib.Path) -> None:
        errors: list[BaseException] = []
        barrier = threading.Barrier(8)

        def make() -> None:
            try:
                barrier.wait()
                for number in range(50):
                    files.make_directory(f"{tmp_path}/{number}/a/b")
            except BaseException as exc:
                errors.append(exc)

        threads = [threading.Thread(target=make) for _number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []

    @pytest.mark.impure
    def test_while_others_remove_what_is_empty(self, tmp_path: pathlib.Path) -> None:
        """As session_store.forget() does with the directory that all sessions of a container are in.

        The other is a process, as another task is. A thread would come between any two calls of this one, for each call
        gives it the lock of the interpreter: no number of tries is enough for that, and no task has such an opponent.
        """
        code = (
            "import os, sys, time\nprint('ready', flush=True)\nremoved = 0\n"
            "while os.getppid() == int(sys.argv[2]):\n"
            "    time.sleep(0.0002)\n"
            "    try: os.rmdir(sys.argv[1])\n"
            "    except OSError: pass\n"
            "    else: open(sys.argv[1] + '.removed', 'a').write('.')\n"
        )
        argv = [sys.executable, "-ISc", code, str(tmp_path / "exec"), str(os.getpid())]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as remover:
            assert remover.stdout
            assert remover.stdout.readline() == b"ready\n"
            try:
                number = 0
                # At least so often, and until the two have met.
                while number < 500 or os.path.getsize(tmp_path / "exec.removed") < 5:
                    files.make_directory(f"{tmp_path}/exec/{number}.session")
                    os.rmdir(tmp_path / f"exec/{number}.session")
                    number += 1
                    (tmp_path / "exec.removed").touch()
            finally:
                remover.kill()

    def test_a_parent_that_is_gone_each_time(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[object] = []

        def make(path: str, _mode: int) -> None:
            made.append(path)
            os.stat("/nowhere")

        monkeypatch.setattr(os, "mkdir", make)
        with pytest.raises(LongshoreError, match=f"Cannot create the directory {tmp_path}/a: No such file"):
            files.make_directory(f"{tmp_path}/a")
        assert 1 < len(made) < 1000


class TestRemoving:
    def test_a_file_or_a_link_but_never_its_target(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a").write_text("", encoding="utf-8")
        os.symlink("a", tmp_path / "link")
        files.remove_file(f"{tmp_path}/link")
        assert os.listdir(tmp_path) == ["a"]
        files.remove_file(f"{tmp_path}/a")
        for gone in ("a", "nowhere/b"):
            files.remove_file(f"{tmp_path}/{gone}")

    def test_a_directory_is_no_file(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(LongshoreError, match=f"Cannot remove {tmp_path}/a: "):
            files.remove_file(f"{tmp_path}/a")

    def test_a_tree_and_not_what_is_linked_from_it(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "precious").write_text("", encoding="utf-8")
        (tmp_path / "tree" / "below").mkdir(parents=True)
        os.symlink("../outside", tmp_path / "tree" / "link")
        files.remove_tree(f"{tmp_path}/tree")
        files.remove_tree(f"{tmp_path}/tree")
        assert os.listdir(tmp_path) == ["outside"]
        assert os.listdir(tmp_path / "outside") == ["precious"]

    def test_a_link_in_the_place_of_a_tree_is_not_followed(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "outside" / "precious").mkdir(parents=True)
        os.symlink("outside", tmp_path / "tree")
        with pytest.raises(LongshoreError) as caught:
            files.remove_tree(f"{tmp_path}/tree")
        assert os.listdir(tmp_path / "outside") == ["precious"]
        assert "None" not in caught.value.message


@pytest.mark.impure
def test_a_directory_that_another_user_made_in_a_shared_place(tmp_path: pathlib.Path) -> None:
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 4242, 0)
    files.make_directory(f"{tmp_path}/state")  # as before: who may write there is asked elsewhere
    tmp_path.chmod(0o1777)
    with pytest.raises(LongshoreError, match="belongs to another user"):
        files.make_directory(f"{tmp_path}/state/containers")
    assert os.listdir(tmp_path / "state") == []


@pytest.mark.impure
@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")
@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_directory_that_another_user_has_made_first(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, link: bool, late: bool
) -> None:
    """In a shared place, before it is looked for or right after that."""
    tmp_path.chmod(0o1777)
    path = str(tmp_path / "ours")
    (tmp_path / "of root").mkdir()

    def plant() -> None:
        if link:
            os.symlink(tmp_path / "of root", path)
        else:
            os.mkdir(path)
        os.chown(path, 4242, 4242, follow_symlinks=False)

    make = os.mkdir

    def plant_and_make(*given: t.Any) -> None:
        monkeypatch.setattr("os.mkdir", make)
        plant()
        make(*given)

    if late:
        monkeypatch.setattr("os.mkdir", plant_and_make)
    else:
        plant()
    with pytest.raises(LongshoreError, match="belongs to another user"):
        files.make_directory(path)


@pytest.mark.parametrize(
    "value", ["a\0", ("a", "b\0"), ["x", ["\0"]], {"a": {"b": "c\0"}}, {"a\0": 1}, {"hooks": ({"path": "/\0"},)}]
)
def test_no_option_has_a_nul(value: t.Any) -> None:
    with pytest.raises(InvalidOption, match=r"chdir(\.[a-z.]+)? cannot have a NUL character in it"):
        files.refuse_bytes("chdir", value, is_path=True)
    files.refuse_bytes("chdir", ("a", {"b": ["\\0", 5, None, True, "\u00e9\U0001f600"]}))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("caf\udce9", "it"), (["a", "\udcff"], "it"), ({"NAME": "\udc80"}, "it.NAME"), ({"\udce9": 1}, "it"), ("\ud83d", "it"),
        (({"source": "/caf\udce9", "options": []},), "it.source"), ({"process": {"cwd": "/\udfff"}}, "it.process.cwd"),
        ({"poststop": [{"path": "/x", "args": ["\ud800"]}]}, "it.poststop.args"),
    ],
)  # fmt: skip
def test_no_option_has_bytes_that_are_not_utf_8(value: t.Any, what: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{re.escape(what)} cannot have bytes that are not UTF-8"):
        files.refuse_bytes("it", value)
    files.refuse_bytes("it", value, is_path=True)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []), ("\n", [""]), ("a", ["a"]), ("a\nb\n", ["a", "b"]), ("a\n\nb", ["a", "", "b"]), ("a\r\nb\r", ["a", "b"]),
        ("a\r\r\nb", ["a\r", "b"]), ("a\rb", ["a\rb"]), ("a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i", ["a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"]),
    ],
)  # fmt: skip
def test_only_a_line_feed_ends_a_line(text: str, lines: list[str]) -> None:
    assert files.split_lines(text) == lines


def test_a_log_has_the_lines_that_a_program_wrote(tmp_path: pathlib.Path) -> None:
    (tmp_path / "log").write_bytes("one\x0c\u2028still one\r\ntwo\n".encode())
    assert files.read_tail(f"{tmp_path}/log") == ["one\x0c\u2028still one", "two"]
