# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import inotify, pidfd, process, program
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    DeadlineExceeded,
    InvalidOption,
    ProgramFailed,
)
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd
from ansible_collections.longshore.oci.tests.unit import programs


@pytest.mark.pure
class TestFindProgram:
    @pytest.fixture
    def directory(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
        """The only directory in which programs are looked for."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(program, "SEARCH_PATH", "/nowhere")
        return tmp_path

    def test_in_sbin_though_path_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The PATH that sshd gives to a user without a login shell."""
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        found = program.find_program("runc")
        assert found is not None
        assert os.path.basename(found) == "runc"

    @pytest.mark.parametrize("path", [None, "", ".", "relative/bin"])
    def test_a_strange_path(self, directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
        """What lies in the current directory is nothing to run as root."""
        programs.script(directory / "tool", "")
        monkeypatch.chdir(directory)
        monkeypatch.delenv("PATH")
        if path is not None:
            monkeypatch.setenv("PATH", path)
        assert program.find_program("tool") is None
        assert program.find_program("tool", [str(directory)]) == f"{directory}/tool"

    def test_the_first_in_path_that_can_be_run(self, directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first, second = directory / "1", directory / "2"
        for each in (first, second):
            each.mkdir()
            programs.script(each / "tool", "")
        monkeypatch.setenv("PATH", f"{first}:{second}")
        assert program.find_program("tool") == f"{first}/tool"
        os.chmod(first / "tool", 0o644)
        assert program.find_program("tool") == f"{second}/tool"

    def test_by_path(self, directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = programs.script(directory / "tool", "")
        monkeypatch.chdir(directory)
        assert program.find_program(path) == path
        assert program.find_program("./tool") == path
        assert program.find_program("/nowhere/tool") is None

    @pytest.mark.parametrize("name", ["", "no-such-tool", "directory"])
    def test_nothing(self, directory: pathlib.Path, name: str) -> None:
        (directory / "directory").mkdir()
        assert program.find_program(name) is None


@pytest.mark.pure
@pytest.mark.parametrize(
    ("uid", "kept"),
    [
        (1000, {"HOME": "/home/app", "XDG_RUNTIME_DIR": "/run/user/1000"}),
        # root's session ends with the task, what root starts does not.
        (0, {"HOME": "/home/app"}),
    ],
)
def test_clean_environment(monkeypatch: pytest.MonkeyPatch, uid: int, kept: dict[str, str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setenv("NOTIFY_SOCKET", "/theirs")
    monkeypatch.setenv("PATH", "/theirs")
    monkeypatch.setenv("HOME", "/home/app")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    expected = {"PATH": program.SEARCH_PATH, "LC_ALL": "C.UTF-8", "A": "1", **kept}
    assert program.clean_environment(A="1") == expected


@pytest.mark.pure
def test_what_become_has_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.delenv("HOME")
    environment = program.clean_environment()
    assert (environment["XDG_RUNTIME_DIR"], environment["HOME"]) == ("/run/user/1000", "/")


class TestRun:
    def test_its_outcome(self) -> None:
        found = program.run(["sh", "-c", "echo out; echo err >&2; exit 3"], Deadline(30), what="say it")
        assert found == (3, "out\n", "err\n")

    def test_a_signal_is_negative(self) -> None:
        assert program.run(["sh", "-c", "kill -9 $$"], Deadline(30), what="die").rc == -9

    def test_much_output(self) -> None:
        """More than a pipe holds, on both."""
        code = "import sys; sys.stdout.write('o' * 1000000); sys.stderr.write('e' * 1000000)"
        found = program.run([sys.executable, "-SEc", code], Deadline(30), what="say it")
        assert (len(found.stdout), len(found.stderr)) == (1000000, 1000000)

    def test_output_that_is_no_text(self) -> None:
        assert program.run(["printf", r"\377"], Deadline(30), what="say it").stdout == "\ufffd"

    def test_it_has_no_input(self) -> None:
        assert program.run(["cat"], Deadline(30), what="read") == (0, "", "")

    def test_a_deadline_kills_all_that_it_started(self, tmp_path: pathlib.Path) -> None:
        text = f"sleep 60 & echo $! >{tmp_path}/child; echo last words >&2; wait"
        with pytest.raises(DeadlineExceeded, match=r"^sh did not wait for Godot in time and was killed") as caught:
            program.run(["sh", "-c", text], Deadline(0.5), what="wait for Godot")
        assert caught.value.details["stderr"] == "last words\n"
        child = int((tmp_path / "child").read_text(encoding="ascii"))
        with PidFd(process.identify(child)) as handle:
            assert handle.wait(Deadline(30))

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("keeps", [False, True])
    def test_what_becomes_of_it_when_the_task_is_killed(self, tmp_path: pathlib.Path, number: int, keeps: bool) -> None:
        """It goes with the task, and so does what it has started, unless it has something to keep."""
        code = f"""
            import os
            from ansible_collections.longshore.oci.plugins.module_utils._base.program import run
            from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
            held = [os.open("/dev/null", os.O_RDONLY)] if {keeps} else []
            text = "sleep 60 & echo $$ $! >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pids; wait"
            run(["sh", "-c", text], Deadline(60), what="wait", keeps=held)
        """
        task = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)], env=programs.python_environment(), stderr=subprocess.DEVNULL
        )
        assert inotify.wait_until(
            (tmp_path / "pids").exists, Deadline(30), path=str(tmp_path), mask=inotify.IN_MOVED_TO
        )
        ids = [process.identify(int(pid)) for pid in (tmp_path / "pids").read_text(encoding="ascii").split()]
        task.send_signal(number)
        task.wait()
        stays = keeps and number != signal.SIGINT  # an interrupted task still cleans up
        with PidFd(ids[0]) as leader, PidFd(ids[1]) as child:
            assert [each.wait(Deadline(0.2 if stays else 30)) for each in (leader, child)] == [not stays] * 2
        pidfd.kill_and_wait([each for each in ids if each], Deadline(30))

    def test_what_it_leaves_running_is_not_killed_with_the_task(self, tmp_path: pathlib.Path) -> None:
        """A hook may start a daemon."""
        code = f"""
            from ansible_collections.longshore.oci.plugins.module_utils._base.program import run
            from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
            run(["sh", "-c", "sleep 60 >/dev/null & echo $! >{tmp_path}/pid"], Deadline(60), what="go on")
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=programs.python_environment(), check=True)
        daemon = process.identify(int((tmp_path / "pid").read_text(encoding="ascii")))
        assert daemon is not None
        assert pidfd.kill_and_wait([daemon], Deadline(0.1), 0) == [daemon]
        pidfd.kill_and_wait([daemon], Deadline(30))

    def test_a_grandchild_that_keeps_the_output_open_is_not_waited_for(self, tmp_path: pathlib.Path) -> None:
        deadline = Deadline(50)
        text = f"sleep 60 & echo $! >{tmp_path}/child; echo done"
        assert program.run(["sh", "-c", text], deadline, what="go on").stdout == "done\n"
        assert deadline.remaining() > 0
        child = process.identify(int((tmp_path / "child").read_text(encoding="ascii")))
        assert child is not None
        assert pidfd.kill_and_wait([child], Deadline(30)) == []

    @pytest.mark.parametrize(("path", "why"), [("/nowhere", "No such file"), ("/", "Permission denied")])
    def test_a_program_that_cannot_be_run(self, path: str, why: str) -> None:
        with pytest.raises(ProgramFailed, match=f"Cannot run {path} to try it: {why}") as caught:
            program.run([path], Deadline(30), what="try it")
        assert caught.value.details["argv"] == [path]

    def test_an_argument_that_no_program_can_have(self) -> None:
        """It comes from a playbook: an error of the engine, not of Python."""
        with pytest.raises((InvalidOption, ProgramFailed)):
            program.run(["true", "a\0b"], Deadline(30), what="try it")

    def test_nothing_stays_open(self, open_files: t.Any) -> None:
        before = open_files()
        program.run(["true"], Deadline(30), what="end")
        with pytest.raises(DeadlineExceeded):
            program.run(["sleep", "60"], Deadline(0), what="end")
        with pytest.raises(ProgramFailed):
            program.run(["/nowhere"], Deadline(0), what="end")
        assert open_files() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")
@pytest.mark.parametrize(("owner", "fine"), [(0, True), (4242, False)])
def test_the_runtime_directory_of_another_user(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, owner: int, fine: bool
) -> None:
    """su keeps the variable."""
    os.chown(tmp_path, owner, 0)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert program.user_runtime_directory() == (str(tmp_path) if fine else "/run/user/0")
