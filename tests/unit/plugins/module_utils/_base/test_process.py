# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import deadline as base_deadline
from ansible_collections.longshore.oci.plugins.module_utils._base import process, program
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline, wait_readable
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    DeadlineExceeded,
    InvalidInput,
    ProgramFailed,
)
from ansible_collections.longshore.oci.plugins.module_utils._base.process import Handle, ProcessId
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup
from ansible_collections.longshore.oci.tests.unit import programs


def _zombie(spawn: t.Any) -> ProcessId:
    """Who a process was that has ended and that nobody has reaped."""
    child = spawn()
    found = process.identify(child.pid)
    assert found is not None
    descriptor = os.pidfd_open(child.pid)
    child.send_signal(signal.SIGKILL)
    assert wait_readable([descriptor], Deadline(30))
    os.close(descriptor)
    return ProcessId(*found)


class TestIdentity:
    @pytest.mark.pure
    def test_of_ourselves(self) -> None:
        found = process.identify(os.getpid())
        assert found == ProcessId(os.getpid(), found.start if found else 0, process.boot_id())
        assert process.is_alive(found)

    def test_two_processes_are_two(self, spawn: t.Any) -> None:
        one, other = process.identify(spawn().pid), process.identify(spawn().pid)
        assert one is not None
        assert one != other

    def test_of_a_zombie(self, spawn: t.Any) -> None:
        """kill(pid, 0) would call it alive, for as long as its parent does not care."""
        dead = _zombie(spawn)
        os.kill(dead.pid, 0)
        assert process.identify(dead.pid) is None
        assert not process.is_alive(dead)

    def test_of_nobody(self, spawn: t.Any) -> None:
        child = spawn("true")
        child.wait()
        assert process.identify(child.pid) is None
        assert not process.is_alive(None)

    @pytest.mark.parametrize("name", ["a b", "a) R 1 (b", "))", "("])
    def test_of_a_program_with_any_name(self, spawn: t.Any, tmp_path: pathlib.Path, name: str) -> None:
        """The name of the program stands in parentheses in /proc/PID/stat, unescaped."""
        os.symlink("/bin/sleep", tmp_path / name)
        named, plain = process.identify(spawn(f"{tmp_path}/{name}", "60").pid), process.identify(spawn().pid)
        assert named is not None
        assert plain is not None
        assert 0 <= plain.start - named.start < 60 * os.sysconf("SC_CLK_TCK")

    def test_a_number_that_is_used_again_is_somebody_else(self, spawn: t.Any) -> None:
        found = process.identify(spawn().pid)
        assert found is not None
        assert process.is_alive(found)
        assert not process.is_alive(found._replace(start=found.start - 1))
        assert not process.is_alive(found._replace(boot="another"))

    @pytest.mark.pure
    def test_boot_id(self) -> None:
        assert len(process.boot_id()) == 36


class TestHandle:
    def test_a_signal_goes_to_the_process_and_the_wait_ends_with_it(self, spawn: t.Any) -> None:
        child = spawn()
        with Handle(process.identify(child.pid)) as handle:
            assert not handle.wait(Deadline(0))
            handle.send(signal.SIGTERM)
            assert handle.wait(Deadline(30))
        assert child.wait() == -signal.SIGTERM

    def test_nobody_else_gets_the_signal(self, spawn: t.Any) -> None:
        """What is recorded is an earlier process with the same number."""
        child = spawn()
        found = process.identify(child.pid)
        assert found is not None
        with Handle(found._replace(start=found.start - 1)) as handle:
            assert handle.fd is None
            handle.send(signal.SIGKILL)
            assert handle.wait(Deadline(0))
        assert child.poll() is None
        assert process.is_alive(found)

    def test_of_nobody(self, spawn: t.Any) -> None:
        child = spawn("true")
        found = ProcessId(child.pid, 1, process.boot_id())
        child.wait()
        for nobody in (None, found, _zombie(spawn)):
            with Handle(nobody) as handle:
                assert handle.fd is None
                handle.send(signal.SIGKILL)
                assert handle.wait(Deadline(0))

    def test_one_that_exited_just_now_is_what_a_signal_wants(self, spawn: t.Any) -> None:
        child = spawn()
        with Handle(process.identify(child.pid)) as handle:
            child.kill()
            child.wait()
            handle.send(signal.SIGKILL)
            assert handle.wait(Deadline(0))

    def test_nothing_stays_open(self, spawn: t.Any, open_files: t.Any) -> None:
        found = process.identify(spawn().pid)
        before = open_files()
        for some in (found, ProcessId(found.pid if found else 0, 1, ""), None):
            handle = Handle(some)
            handle.close()
            handle.close()
        assert open_files() == before


class TestKilling:
    def test_kill_and_wait(self, spawn: t.Any) -> None:
        children = [spawn(), spawn("sh", "-c", "trap '' TERM; sleep 60 & wait")]
        found = [process.identify(child.pid) for child in children]
        assert process.kill_and_wait([some for some in found if some], Deadline(30)) == []
        assert [child.wait() for child in children] == [-signal.SIGKILL] * 2

    @pytest.mark.pure
    def test_nobody(self) -> None:
        assert process.kill_and_wait([], Deadline(0)) == []

    def test_what_is_left_at_the_deadline_is_returned(self, scratch_cgroup: str, spawn: t.Any) -> None:
        """A process in a frozen cgroup of v1 does not die: the nearest to a process that is stuck in the kernel."""
        freezer = "/sys/fs/cgroup/freezer"
        if not os.path.isdir(freezer):
            pytest.skip("needs a v1 freezer: v2 lets SIGKILL through")
        child = spawn()
        found = process.identify(child.pid)
        assert found is not None
        os.mkdir(freezer + scratch_cgroup)
        try:
            for name, text in (("cgroup.procs", str(child.pid)), ("freezer.state", "FROZEN")):
                with open(f"{freezer}{scratch_cgroup}/{name}", "w", encoding="ascii") as stream:
                    stream.write(text)
            assert process.kill_and_wait([found], Deadline(0.05)) == [found]
            assert process.stuck_in(found).startswith("in state D, waiting in ")
        finally:
            with open(f"{freezer}{scratch_cgroup}/freezer.state", "w", encoding="ascii") as stream:
                stream.write("THAWED")

    def test_stuck_in_of_one_that_is_gone(self, spawn: t.Any) -> None:
        child = spawn("true")
        child.wait()
        assert process.stuck_in(ProcessId(child.pid, 1, "")) == "no longer there"


def test_parents(spawn: t.Any) -> None:
    child = spawn()
    assert process.parent_of(child.pid) == os.getpid()
    child.kill()
    child.wait()
    assert process.parent_of(child.pid) == 0


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
    ("text", "number"),
    [
        ("TERM", 15), ("SIGTERM", 15), ("term", 15), ("sigTerm", 15), (" KILL ", 9), ("15", 15), (15, 15), ("1", 1),
        ("64", 64), ("RTMIN", 34), ("RTMIN+0", 34), ("SIGRTMIN+3", 37), ("rtmin+30", 64), ("RTMAX", 64), ("USR1", 10),
    ],
)  # fmt: skip
def test_parse_signal(text: str | int, number: int) -> None:
    assert process.parse_signal(text) == number


@pytest.mark.pure
@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "65",
        "-1",
        -1,
        0,
        "NOPE",
        "SIG",
        "SIGSIGTERM",
        "TERM+1",
        "RTMIN+31",
        "RTMIN+x",
        "RTMIN+",
        "+",
        "1.5",
        "²",
        "_DFL",
    ],
)
def test_no_signal(text: str | int) -> None:
    with pytest.raises(InvalidInput, match="is not a signal of this system"):
        process.parse_signal(text)


@pytest.mark.pure
@pytest.mark.parametrize("number", range(1, signal.SIGRTMAX + 1))
def test_a_signal_by_its_name_is_itself(number: int) -> None:
    assert process.parse_signal(process.signal_name(number)) == number


@pytest.mark.pure
def test_signal_names() -> None:
    assert [process.signal_name(number) for number in (9, 15, 37)] == ["KILL", "TERM", "RTMIN+3"]


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
        with Handle(process.identify(child)) as handle:
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
        assert base_deadline.wait_until(
            (tmp_path / "pids").exists, Deadline(30), path=str(tmp_path), mask=base_deadline.IN_MOVED_TO
        )
        ids = [process.identify(int(pid)) for pid in (tmp_path / "pids").read_text(encoding="ascii").split()]
        task.send_signal(number)
        task.wait()
        stays = keeps and number != signal.SIGINT  # an interrupted task still cleans up
        with Handle(ids[0]) as leader, Handle(ids[1]) as child:
            assert [each.wait(Deadline(0.2 if stays else 30)) for each in (leader, child)] == [not stays] * 2
        process.kill_and_wait([each for each in ids if each], Deadline(30))

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
        assert process.kill_and_wait([daemon], Deadline(0.1), 0) == [daemon]
        process.kill_and_wait([daemon], Deadline(30))

    def test_a_grandchild_that_keeps_the_output_open_is_not_waited_for(self, tmp_path: pathlib.Path) -> None:
        deadline = Deadline(50)
        text = f"sleep 60 & echo $! >{tmp_path}/child; echo done"
        assert program.run(["sh", "-c", text], deadline, what="go on").stdout == "done\n"
        assert deadline.remaining() > 0
        child = process.identify(int((tmp_path / "child").read_text(encoding="ascii")))
        assert child is not None
        assert process.kill_and_wait([child], Deadline(30)) == []

    @pytest.mark.parametrize(("path", "why"), [("/nowhere", "No such file"), ("/", "Permission denied")])
    def test_a_program_that_cannot_be_run(self, path: str, why: str) -> None:
        with pytest.raises(ProgramFailed, match=f"Cannot run {path} to try it: {why}") as caught:
            program.run([path], Deadline(30), what="try it")
        assert caught.value.details["argv"] == [path]

    def test_an_argument_that_no_program_can_have(self) -> None:
        """It comes from a playbook: an error of the engine, not of Python."""
        with pytest.raises((InvalidInput, ProgramFailed)):
            program.run(["true", "a\0b"], Deadline(30), what="try it")

    def test_nothing_stays_open(self, open_files: t.Any) -> None:
        before = open_files()
        program.run(["true"], Deadline(30), what="end")
        with pytest.raises(DeadlineExceeded):
            program.run(["sleep", "60"], Deadline(0), what="end")
        with pytest.raises(ProgramFailed):
            program.run(["/nowhere"], Deadline(0), what="end")
        assert open_files() == before


@pytest.mark.pure
class TestPidFiles:
    @pytest.mark.parametrize("text", [None, "", "\n", "soon"])
    def test_nobody_is_in_it(self, tmp_path: pathlib.Path, text: str | None) -> None:
        if text is not None:
            (tmp_path / "pid").write_text(text)
        assert process.in_pid_file(f"{tmp_path}/pid") is None

    def test_who_lives(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "pid").write_text(f"{os.getpid()}\n")
        assert process.in_pid_file(f"{tmp_path}/pid") == process.identify(os.getpid())


class TestSpawn:
    """Two ways to start a program, which it must not be able to tell apart."""

    SCRIPT = """
import json, os, signal
fds = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        fds[fd] = os.readlink("/proc/self/fd/" + fd)
    except FileNotFoundError:
        pass
ignored = [line for line in open("/proc/self/status") if line.startswith("SigIgn")]
print(json.dumps({"fds": fds, "cwd": os.getcwd(), "env": dict(os.environ), "leader": os.getsid(0) == os.getpid(),
    "signals": ignored, "cgroup": open("/proc/self/cgroup").read()}))
"""

    @pytest.fixture
    def birthplace(self) -> t.Iterator[str]:
        """A directory of cgroup2, which a hybrid host has too."""
        root = cgroup.layout().v2
        assert root is not None, "the tests need cgroup2 to be mounted"
        path = f"{root}/longshore-unit-{os.getpid()}"
        os.mkdir(path)
        yield path
        os.rmdir(path)

    def _look(self, tmp_path: pathlib.Path, **more: t.Any) -> tuple[dict[str, t.Any], int]:
        given, kept = os.pipe()
        leaked = os.dup(given)
        os.set_inheritable(leaked, True)
        with open(tmp_path / "output", "wb") as output:
            pid, self.placed = program.spawn(
                [sys.executable, "-c", self.SCRIPT], directory=str(tmp_path), environment={"WORD": "given"},
                output=output.fileno(), inherited=(given,), **more,
            )  # fmt: skip
        _pid, status = os.waitpid(pid, 0)
        for descriptor in (given, kept, leaked):
            os.close(descriptor)
        assert status == 0, (tmp_path / "output").read_text()
        return json.loads((tmp_path / "output").read_text()), given

    @pytest.mark.parametrize("born", [False, True])
    def test_what_the_program_gets(self, tmp_path: pathlib.Path, birthplace: str, born: bool) -> None:
        seen, given = self._look(tmp_path, cgroup=birthplace if born else None)
        output = str(tmp_path / "output")
        own = {number: path for number, path in seen["fds"].items() if not path.startswith("/proc/")}
        assert own.keys() == {"0", "1", "2", str(given)}
        assert [own["0"], own["1"], own["2"]] == ["/dev/null", output, output]
        assert seen["cwd"] == str(tmp_path)
        assert seen["leader"]
        # LC_CTYPE is Python's own doing.
        assert seen["env"].keys() - {"LC_CTYPE"} == {"PATH", "LC_ALL", "HOME", "WORD"} | (
            {"XDG_RUNTIME_DIR"} if os.geteuid() else set()
        )
        assert (f"0::/{os.path.basename(birthplace)}\n" in seen["cgroup"]) is self.placed is born

    def test_both_ways_reset_the_same_signals(self, tmp_path: pathlib.Path, birthplace: str) -> None:
        seen = [self._look(tmp_path, cgroup=place)[0]["signals"] for place in (None, birthplace)]
        assert seen[0] == seen[1]

    def test_a_program_with_threads_does_not_fork_raw(self, tmp_path: pathlib.Path, birthplace: str) -> None:
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        try:
            seen, _given = self._look(tmp_path, cgroup=birthplace)
        finally:
            done.set()
            thread.join()
        assert f"/{os.path.basename(birthplace)}\n" not in seen["cgroup"]
        assert not self.placed

    def test_where_the_kernel_refuses(self, tmp_path: pathlib.Path) -> None:
        """/proc is no cgroup: EBADF. The program runs nonetheless."""
        seen, _given = self._look(tmp_path, cgroup="/proc")
        assert seen["cwd"] == str(tmp_path)

    def test_what_cannot_be_run_says_so(self, tmp_path: pathlib.Path, birthplace: str) -> None:
        with open(tmp_path / "output", "wb") as output:
            pid, _placed = program.spawn(
                ["/nowhere/program"],
                directory="/",
                environment={},
                output=output.fileno(),
                inherited=(),
                cgroup=birthplace,
            )
        assert os.waitpid(pid, 0)[1] == 127 << 8
        assert "cannot run /nowhere/program: [Errno 2]" in (tmp_path / "output").read_text()

    def test_nothing_stays_open(self, tmp_path: pathlib.Path, birthplace: str, open_files: t.Any) -> None:
        before = open_files()
        self._look(tmp_path, cgroup=birthplace)
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
