# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in a real container, with the conmon and the runc of this host."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import MOST_BYTES
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidOption,
    LongshoreError,
    ProgramFailed,
    WrongState,
)
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd
from ansible_collections.longshore.oci.plugins.module_utils._base.process import is_alive
from ansible_collections.longshore.oci.plugins.module_utils._conmon import conmon_launch
from ansible_collections.longshore.oci.plugins.module_utils._conmon.fd_mapping import Descriptors
from ansible_collections.longshore.oci.plugins.module_utils._exec import detached, request, session_store
from ansible_collections.longshore.oci.plugins.module_utils._exec import run as exec_run
from ansible_collections.longshore.oci.plugins.module_utils._exec.output import DEFAULT_LIMIT, Keep
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._exec.request import Limits
from ansible_collections.longshore.oci.plugins.module_utils._exec.session_store import SessionPaths
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._module.session import describe
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition, Desired, Goal, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, bundle, programs

LARGE = 64 << 20
ALL_OF_IT = Keep(LARGE)
READY = ": >/tmp/ready"


class Container:
    """One that runs, with what a test asks of it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.name = f"exec-{os.getpid()}-{os.urandom(3).hex()}"
        self.engine = Containers(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        self.store, self.paths = self.engine.store, self.engine.store.paths(self.name)
        os.mkdir(f"{directory}/bundle")
        self.bundle = bundle.make(f"{directory}/bundle", "sleep", "1000")
        os.mkdir(f"{self.bundle}/rootfs/dev")
        os.mkdir(f"{self.bundle}/rootfs/tmp")

    def change(self, **process: t.Any) -> None:
        with open(f"{self.bundle}/config.json", encoding="utf-8") as stream:
            config = json.load(stream)
        config["process"].update(process)
        with open(f"{self.bundle}/config.json", "w", encoding="utf-8") as stream:
            json.dump(config, stream)

    def converge(self, goal: Goal = Goal.STARTED, **seconds: float) -> t.Any:
        wanted = Definition(self.bundle, runtime="runc")
        timeouts = Timeouts(**{"stop": 0.0, **seconds})
        return self.engine.converge(Desired(self.name, goal, wanted, timeouts=timeouts))

    def run(self, text: str, **more: t.Any) -> request.Result:
        """A shell's text; the options of the command, and those of the run."""
        names = ("stdin", "session", "limits", "preserve", "keep")
        options = {name: more.pop(name) for name in names if name in more}
        return exec_run.run(self.store, self.name, Command(("/bin/sh", "-c", text), **more), **options)

    def start(self, text: str, **options: t.Any) -> session_store.Session:
        return exec_run.start(self.store, self.name, Command(("/bin/sh", "-c", text)), **options)[0]

    def wait_until_ready(self) -> None:
        """A text that says READY, when it has got there."""
        deadline, path = Deadline(30), f"{self.bundle}/rootfs/tmp/ready"
        while not os.path.exists(path) and deadline.remaining():
            time.sleep(0.01)
        os.unlink(path)

    def left(self) -> list[str]:
        """What there should not be when no session is wanted: processes of theirs, files."""
        found = [f"conmon {pid}" for pid in programs.with_word(self.paths.exec)]
        record = self.store.load(self.name)
        init = record.init if record else None
        found += [
            f"process {process.pid}"
            for process in cgroup_removal.members(f"/longshore/{self.name}@{self.store.realm}/container")
            if process != init
        ]
        for place in (self.paths.exec, f"{self.paths.persist}/exec"):
            found += [f"{place}/{name}" for name in os.listdir(place)] if os.path.isdir(place) else []
        return found

    def nothing_is_left(self) -> bool:
        """conmon ends a moment after its last report."""
        deadline = Deadline(10)
        while self.left() and deadline.remaining():
            time.sleep(0.01)
        return self.left() == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Container]:
    """For tests that leave it as it was."""
    made = Container(tmp_path_factory.mktemp("shared"))
    made.converge()
    yield made
    made.converge(Goal.ABSENT)


@pytest.mark.parametrize("value", [0o077, 0o000, 0o027, 0o777])
def test_the_umask_of_the_task_reaches_nothing(tmp_path: pathlib.Path, value: int) -> None:
    """Neither a command, nor the mount points that the runtime creates."""
    container = Container(tmp_path)
    with open(f"{container.bundle}/config.json", encoding="utf-8") as stream:
        config = json.load(stream)
    options = ["rbind", "ro"]
    config["mounts"].append({"destination": "/one/two/three", "type": "bind", "source": "/usr", "options": options})
    with open(f"{container.bundle}/config.json", "w", encoding="utf-8") as stream:
        json.dump(config, stream)
    before = os.umask(value)
    try:
        for own, expected in ((None, "0022"), (0o007, "0007"), (0o22, "0022"), (0, "0000")):
            container.change(user={"uid": 0, "gid": 0, **({} if own is None else {"umask": own})})
            container.converge()
            modes = [os.stat(f"{container.bundle}/rootfs/{path}").st_mode & 0o777 for path in ("one", "one/two")]
            assert modes == [0o755, 0o755]
            for user in (None, "0", "1000:1000"):
                assert container.run("umask", user=user).stdout == f"{expected}\n".encode()
            assert os.stat(container.paths.log).st_mode & 0o777 in (0o600, 0o640)
    finally:
        os.umask(before)
        container.converge(Goal.ABSENT)


@pytest.fixture
def container(shared: Container, open_files: t.Callable[[], dict[str, str]]) -> t.Iterator[Container]:
    before = open_files()
    yield shared
    assert open_files() == before
    assert shared.nothing_is_left(), shared.left()


@pytest.fixture
def own(tmp_path: pathlib.Path) -> t.Iterator[Container]:
    """For tests that do something to the container."""
    made = Container(tmp_path)
    yield made
    made.converge(Goal.ABSENT)
    assert not os.path.exists(made.paths.run)


class TestRun:
    def test_output_and_exit_code(self, container: Container) -> None:
        before = time.time()
        result = container.run("echo out; echo err >&2; exit 3")
        assert (result.rc, result.stdout, result.stderr, result.timed_out) == (3, b"out\n", b"err\n", False)
        assert before <= result.start <= result.end <= time.time()

    def test_bytes_are_bytes(self, container: Container) -> None:
        text = r"printf '\377\0\r\n\200'; printf '\376' >&2"
        result = container.run(text)
        assert (result.stdout, result.stderr) == (b"\xff\0\r\n\x80", b"\xfe")

    def test_no_input_is_an_empty_one(self, container: Container) -> None:
        assert container.run("cat; echo end").stdout == b"end\n"
        assert container.run("cat; echo end", stdin=b"").stdout == b"end\n"

    def test_much_in_and_out(self, container: Container) -> None:
        data = os.urandom(LARGE)
        assert container.run("cat", stdin=data, keep=ALL_OF_IT).stdout == data

    def test_much_in(self, container: Container) -> None:
        data = os.urandom(LARGE)
        said = container.run("sha256sum", stdin=data).stdout
        assert said.split()[0].decode() == hashlib.sha256(data).hexdigest()

    def test_much_out_on_both(self, container: Container) -> None:
        result = container.run(f"yes | head -c {LARGE}; yes n | head -c {LARGE} >&2", keep=ALL_OF_IT)
        assert result.stdout == b"y\n" * (LARGE // 2)
        assert result.stderr == b"n\n" * (LARGE // 2)

    def test_the_beginning_is_kept_and_a_file_has_it_all(self, container: Container, tmp_path: pathlib.Path) -> None:
        keep = Keep(1000, f"{tmp_path}/out", f"{tmp_path}/err")
        result = container.run(f"yes | head -c {LARGE}; echo done >&2", keep=keep)
        assert (result.rc, result.stdout, result.stderr) == (0, b"y\n" * 500, b"done\n")
        assert result.truncated == ("stdout",)
        assert os.stat(tmp_path / "out").st_size == LARGE
        assert (tmp_path / "err").read_bytes() == b"done\n"

    def test_a_file_that_cannot_be_written_is_refused_before_the_command_runs(
        self, container: Container, tmp_path: pathlib.Path
    ) -> None:
        os.mkfifo(tmp_path / "out")
        with pytest.raises(InvalidOption, match="not a private file of this user"):
            container.run(": >/tmp/has-run", keep=Keep(stdout_path=f"{tmp_path}/out"))
        assert not os.path.exists(f"{container.bundle}/rootfs/tmp/has-run")

    @pytest.mark.parametrize("text", ["true", "exec 0<&-; sleep 0.2", "head -c 1 >/dev/null"])
    def test_input_that_nobody_reads(self, container: Container, text: str) -> None:
        assert container.run(text, stdin=bytes(LARGE)).rc == 0

    def test_a_background_process_does_not_hold_it_up(self, container: Container) -> None:
        before = time.monotonic()
        result = container.run("sleep 1 & echo started")
        assert (result.rc, result.stdout) == (0, b"started\n")
        assert time.monotonic() - before < 0.9 or result.end - result.start < 0.9

    def test_killed(self, container: Container) -> None:
        assert container.run("kill -9 $$").rc == 137

    def test_many_at_once(self, container: Container) -> None:
        results: dict[int, bytes] = {}

        def run(number: int) -> None:
            results[number] = container.run(f"echo {number}").stdout

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {number: b"%d\n" % number for number in range(8)}

    def test_what_it_is_given(self, container: Container) -> None:
        result = container.run("id -u; id -g; pwd; echo $HOME $A", user="12:34", cwd="/usr", env={"A": "b c"})
        assert result.stdout == b"12\n34\n/usr\n/ b c\n"

    def test_capabilities(self, container: Container) -> None:
        bounding = [line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line[:6] == "CapBnd"]
        assert container.run("grep CapEff /proc/self/status").stdout.split()[1] == b"0" * 16
        full = container.run("grep CapEff /proc/self/status", privileged=True).stdout.split()[1].decode()
        assert full == bounding[0].split()[1]
        one = container.run("grep CapEff /proc/self/status", user="7", capabilities=("NET_ADMIN",)).stdout.split()[1]
        assert int(one, 16) == 1 << 12
        assert container.run("grep NoNewPrivs /proc/self/status", no_new_privs=True).stdout.split()[1] == b"1"

    def test_nothing_secret_is_left_or_seen(self, container: Container) -> None:
        secret = "s3cr3t-in-the-environment"
        session = exec_run.start(container.store, container.name, Command(("/bin/sleep", "60"), {"S": secret}))[0]
        try:
            for top in (container.paths.run, container.paths.state):
                for directory, _names, files in os.walk(top):
                    for name in files:
                        path = f"{directory}/{name}"
                        if os.path.isfile(path) and not os.path.islink(path):
                            assert secret.encode() not in pathlib.Path(path).read_bytes(), path
            monitor = t.cast(t.Any, session.monitor)
            assert secret.encode() not in pathlib.Path(f"/proc/{monitor.pid}/cmdline").read_bytes()
        finally:
            assert detached.forget(container.store, container.name, session.id, limits=Limits(stop=0))

    def test_the_spec_is_for_nobody_else(self, container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []
        really = conmon_launch.launch

        def look(*arguments: t.Any, **more: t.Any) -> t.Any:
            seen.append(os.stat(f"{more['directory']}/process.json").st_mode & 0o777)
            return really(*arguments, **more)

        monkeypatch.setattr(conmon_launch, "launch", look)
        assert container.run("true").rc == 0
        assert seen == [0o600]

    def test_more_open_files(self, container: Container) -> None:
        read, write = os.pipe()
        with open(read, "rb") as output, open(write, "wb") as stream:
            result = container.run("ls /proc/self/fd; echo hello >&4; head -n 1 <&3", preserve=Descriptors(read, write))
            assert result.rc == 0, result.stderr
            # 5 is that of ls itself, on the directory.
            assert result.stdout.split()[:6] == [b"0", b"1", b"2", b"3", b"4", b"5"]
            assert result.stdout.endswith(b"hello\n")
            assert not stream.closed
            assert not output.closed

    @pytest.mark.parametrize(
        ("argv", "rc"),
        [
            (("/nosuch",), 127),
            (("nosuch",), 127),
            (("/proc/version",), 126),
            (("/usr",), 126),
            (("/tmp/bad",), 126),
            (("/tmp/lost",), 127),
        ],
    )
    def test_what_cannot_be_run(self, container: Container, argv: tuple[str, ...], rc: int) -> None:
        programs.script(f"{container.bundle}/rootfs/tmp/bad", "")
        pathlib.Path(f"{container.bundle}/rootfs/tmp/bad").write_bytes(b"\x7fELF nonsense")
        programs.script(f"{container.bundle}/rootfs/tmp/lost", "")
        pathlib.Path(f"{container.bundle}/rootfs/tmp/lost").write_text("#!/nowhere\n")
        with pytest.raises(ProgramFailed, match=f"Cannot run {argv[0]} in the container") as caught:
            exec_run.run(container.store, container.name, Command(argv))
        assert caught.value.details["rc"] == rc

    @pytest.mark.parametrize(
        ("text", "rc"),
        [
            ('echo "exec /bin/sh: cannot find the backup" >&2; exit 1', 1),
            ('echo "exec /bin/sh: no such file or directory" >&2; exit 1', 1),
            ('echo "exec /bin/sh: exec format error" >&2; exit 255', 255),
            ('echo "exec /bin/sh: permission denied" >&2; exit 1', 1),
            ('echo "exec /tmp/lost: no such file or directory" >&2; exit 1', 1),
            ("exec /tmp/lost", 127),
        ],
    )
    def test_a_command_that_fails_with_the_words_of_a_runtime(self, container: Container, text: str, rc: int) -> None:
        programs.script(f"{container.bundle}/rootfs/tmp/lost", "")
        pathlib.Path(f"{container.bundle}/rootfs/tmp/lost").write_text("#!/nowhere\n")
        result = container.run(text)
        assert result.rc == rc
        assert text.startswith("exec") or result.stderr == text.split('"')[1].encode() + b"\n"

    def test_an_interpreter_that_cannot_be_executed(self, container: Container) -> None:
        for name, text in (("first", "#!/tmp/second\n"), ("second", "#!/bin/sh\n")):
            programs.script(f"{container.bundle}/rootfs/tmp/{name}", "")
            pathlib.Path(f"{container.bundle}/rootfs/tmp/{name}").write_text(text)
        os.chmod(f"{container.bundle}/rootfs/tmp/second", 0o644)
        for command in (
            Command(("/tmp/first",)),
            Command(("first",), env={"PATH": "/tmp"}),
            Command(("./first",), cwd="/tmp"),
        ):
            with pytest.raises(ProgramFailed, match="it cannot be executed") as caught:
                exec_run.run(container.store, container.name, command)
            assert caught.value.details["rc"] == 126

    def test_a_directory_that_is_not_there(self, container: Container) -> None:
        with pytest.raises(ProgramFailed, match=r"cwd.*/nope") as caught:
            container.run("true", cwd="/nope")
        assert "rc" not in caught.value.details

    def test_a_terminal_needs_devpts(self, container: Container) -> None:
        with pytest.raises(ProgramFailed, match="ptmx"):
            container.run("tty", tty=True)

    def test_a_user_that_is_not_there(self, container: Container) -> None:
        with pytest.raises(InvalidOption, match="no user 'app' in the container, which has no /etc/passwd"):
            container.run("true", user="app")

    @pytest.mark.parametrize("wanted", [{"cwd": "tmp"}, {"session": "a/b"}, {"env": {"A=": ""}}])
    def test_bad_input(self, container: Container, wanted: dict[str, t.Any]) -> None:
        with pytest.raises(InvalidOption):
            container.run("true", **wanted)

    def test_paths_in_the_container(self, container: Container) -> None:
        def exists(pattern: str, directory: str | None = None) -> bool:
            return exec_run.exists(container.store, container.name, pattern, directory=directory)

        assert exists("/proc/1/status")
        assert exists("usr")
        assert exists("u*", "/bin/..")
        assert exists("bin", "/usr")
        assert not exists("/etc/passwd")
        assert not exists("/proc/1/root/../../../../etc/passwd")


class TestTimeout:
    def test_it_is_stopped(self, container: Container) -> None:
        # In a loop: its child may get the signal first, which would be the end of a single wait.
        text = "trap 'echo bye; exit 0' TERM; echo begun; while :; do sleep 60 & wait; done"
        result = container.run(text, limits=Limits(run=1))
        assert (result.timed_out, result.stdout, result.rc) == (True, b"begun\nbye\n", 0)
        assert result.end - result.start < 30

    def test_it_is_killed(self, container: Container) -> None:
        result = container.run("trap '' TERM; sleep 60", limits=Limits(run=1, stop=0.2))
        assert (result.timed_out, result.rc) == (True, 137)

    def test_no_grace(self, container: Container) -> None:
        assert container.run("trap '' TERM; sleep 60", limits=Limits(run=0.2, stop=0)).rc == 137

    def test_its_children_too(self, container: Container) -> None:
        text = "sleep 61 & (trap '' TERM; sleep 62) & setsid sleep 63 & sleep 64"
        assert container.run(text, limits=Limits(run=0.3, stop=0.3)).timed_out is True

    def test_one_that_talks_all_the_time(self, container: Container) -> None:
        result = container.run("yes", limits=Limits(run=0.2))
        assert result.timed_out is True
        assert len(result.stdout) > 0

    def test_one_that_is_quick_enough(self, container: Container) -> None:
        assert container.run("true", limits=Limits(run=30)).timed_out is False


class TestDetached:
    def _finish(self, container: Container, session: session_store.Session, **limits: float) -> request.Result:
        return detached.finish(container.store, container.name, session.id, limits=Limits(**limits))

    def _listed(self, container: Container) -> list[tuple[t.Any, ...]]:
        record = container.store.load(container.name)
        listed = [describe(seen) for seen in session_store.look_at_all(container.paths, record)]
        return [(each["session"], each["status"], each["rc"]) for each in listed]

    def test_a_life(self, container: Container) -> None:
        session = container.start(r"echo out; printf 'e\377' >&2; sleep 0.3; exit 4", session="life")
        assert (session.id, is_alive(session.process), is_alive(session.monitor)) == ("life", True, True)
        assert self._listed(container) == [("life", "running", None)]
        for _again in range(2):
            result = self._finish(container, session)
            assert (result.rc, result.stdout, result.stderr, result.timed_out) == (4, b"out\n", b"e\xff", False)
            assert 0.2 < result.end - result.start < 10
        assert self._listed(container) == [("life", "finished", 4)]
        assert detached.stop(container.store, container.name, "life") is False
        assert detached.forget(container.store, container.name, "life") is True
        assert detached.forget(container.store, container.name, "life") is False
        with pytest.raises(WrongState, match="has no session life"):
            self._finish(container, session)

    def test_one_that_ends_at_once(self, container: Container) -> None:
        session = container.start("exit 5")
        assert self._finish(container, session).rc == 5
        assert detached.forget(container.store, container.name, session.id)

    def test_much_output(self, container: Container) -> None:
        session = container.start(f"head -c {LARGE} /dev/zero | tr '\\0' 'x'")
        done = detached.finish(container.store, container.name, session.id, keep=ALL_OF_IT)
        assert (done.stdout, done.truncated) == (b"x" * LARGE, ())
        done = self._finish(container, session)
        assert (done.stdout, done.truncated) == (b"x" * DEFAULT_LIMIT, ("stdout",))
        assert detached.forget(container.store, container.name, session.id)

    def test_stop(self, container: Container) -> None:
        session = container.start(f"trap 'exit 6' TERM; sleep 61 & (trap '' TERM; {READY}; sleep 62) & wait")
        container.wait_until_ready()
        assert detached.stop(container.store, container.name, session.id, limits=Limits(stop=0.3)) is True
        assert self._listed(container) == [(session.id, "finished", 6)]
        assert detached.forget(container.store, container.name, session.id)

    def test_a_limit_for_the_wait(self, container: Container) -> None:
        session = container.start("exec sleep 60")
        result = self._finish(container, session, run=0.1)
        assert (result.timed_out, result.rc) == (True, 143)
        assert self._finish(container, session).timed_out is True
        assert detached.forget(container.store, container.name, session.id)

    def test_forget_one_that_runs(self, container: Container) -> None:
        session = container.start("exec sleep 60")
        assert detached.forget(container.store, container.name, session.id)
        assert not is_alive(session.process)

    def test_an_id_that_is_taken(self, container: Container) -> None:
        command = Command(("/bin/sleep", "60"))
        first, new = exec_run.start(container.store, container.name, command, session="taken")
        again, new_again = exec_run.start(container.store, container.name, command, session="taken")
        assert (new, new_again, again) == (True, False, first)
        for attempt in (
            lambda: container.start("true", session="taken"),
            lambda: container.run("true", session="taken"),
        ):
            with pytest.raises(Conflict, match="already has a session taken"):
                attempt()
        assert detached.stop(container.store, container.name, "taken", limits=Limits(stop=0))
        with pytest.raises(Conflict, match="already has a session taken"):
            exec_run.start(container.store, container.name, command, session="taken")
        assert detached.forget(container.store, container.name, "taken")

    def test_a_conmon_that_is_killed(self, container: Container) -> None:
        """What it watched goes on, and can be stopped."""
        session = container.start("exec sleep 60")
        os.kill(t.cast(t.Any, session.monitor).pid, signal.SIGKILL)
        with PidFd(session.monitor) as handle:
            assert handle.wait(Deadline(10))
        assert self._listed(container) == [(session.id, "running", None)]
        assert self._finish(container, session, run=0.1).rc is None
        assert self._listed(container) == [(session.id, "finished", None)]
        assert detached.forget(container.store, container.name, session.id)


def test_a_conmon_that_is_killed_while_it_is_waited_for(container: Container) -> None:
    """The task does not hang, and does not leave what nobody waits for any more."""

    def kill() -> None:
        deadline = Deadline(30)
        while deadline.remaining():
            session = session_store.load(SessionPaths(container.paths, "lost"))
            if session and session.monitor:
                container.wait_until_ready()
                os.kill(session.monitor.pid, signal.SIGKILL)
                return
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    result = container.run(f"echo so far; {READY}; exec sleep 60", session="lost")
    killer.join()
    assert (result.rc, result.stdout) == (None, b"so far\n")


class TestStates:
    @pytest.mark.parametrize(
        ("goal", "says"),
        [
            (Goal.ABSENT, "does not exist, so no command can run in it"),
            (Goal.PRESENT, "has not been started, so no command can run in it"),
            (Goal.PAUSED, "is paused, so no command can run in it"),
            (Goal.STOPPED, "has ended with exit code 137, so no command can run in it"),
        ],
    )
    def test_one_that_does_not_run(self, own: Container, goal: Goal, says: str) -> None:
        if goal is Goal.STOPPED:
            own.converge()
        own.converge(goal)
        with pytest.raises(WrongState, match=says):
            own.run("true")
        with pytest.raises(WrongState, match=says):
            own.start("true")
        with pytest.raises(WrongState, match=says):
            exec_run.exists(own.store, own.name, "/")
        own.converge(Goal.ABSENT)
        assert not os.path.exists(own.paths.lock)

    def test_one_that_was_out_of_memory(self, own: Container) -> None:
        own.converge()
        own.converge(Goal.STOPPED)
        pathlib.Path(own.paths.exits, "oom").touch()
        with pytest.raises(
            WrongState, match=r"has ended with exit code 137 \(memory ran out\), so no command can run in it"
        ):
            own.run("true")

    def test_a_command_for_which_memory_ran_out(self, own: Container) -> None:
        """The container runs on."""
        with open(f"{own.bundle}/config.json", encoding="utf-8") as stream:
            config = json.load(stream)
        config["linux"]["resources"] = {"memory": {"limit": 20000000}}
        with open(f"{own.bundle}/config.json", "w", encoding="utf-8") as stream:
            json.dump(config, stream)
        own.converge()
        assert own.run("exit 3").oom is False
        for text in ("exec tail /dev/zero", "tail /dev/zero; exit 4"):
            result = own.run(text)
            assert (result.rc, result.oom) == (137 if "exec" in text else 4, True)
        session = own.start("exec tail /dev/zero")
        assert detached.finish(own.store, own.name, session.id).oom is True
        assert own.run("true").oom is False

    def test_one_that_is_checkpointed(self, tmp_path: pathlib.Path) -> None:
        store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
        os.makedirs(store.paths("web").state)
        store.save(builders.record(phase="checkpointed"))
        with pytest.raises(WrongState, match=r"The container web is checkpointed, so no command .* Restore it"):
            exec_run.running(store, "web")

    def test_one_that_is_being_stopped(self, own: Container) -> None:
        own.converge()
        record = own.store.load(own.name)
        assert record is not None
        own.store.save(record.replace(phase=Phase.STOPPING))
        with pytest.raises(Conflict, match="is being stopped"):
            own.run("true")

    def test_a_task_that_was_killed_before_it_wrote_a_record(self, own: Container) -> None:
        own.converge()
        os.makedirs(SessionPaths(own.paths, "begun").exits)
        assert own.run("true").rc == 0
        assert own.nothing_is_left()

    def test_a_launch_that_takes_too_long(self, own: Container) -> None:
        own.converge()
        record = own.store.load(own.name)
        assert record is not None
        slow = programs.script(f"{own.bundle}/conmon", "exec sleep 60")
        own.store.save(record.replace(conmon=record.conmon._replace(path=slow)))
        with pytest.raises(
            DeadlineExceeded, match=r"Cannot run /bin/sh in the container .* did not report in time, and conmon"
        ):
            own.run("true", limits=Limits(create=0.3))
        own.store.save(record)
        assert own.nothing_is_left(), own.left()

    def test_a_bare_end_of_file(self, own: Container) -> None:
        """As of conmon 2.2.0 and 2.2.1: what the runtime has logged says why."""
        own.converge()
        record = own.store.load(own.name)
        assert record is not None
        text = """
            import pathlib
            log = sys.argv[[i for i, word in enumerate(sys.argv) if word == "--runtime-arg=--log"][0] + 1].partition("=")[2]
            os.read(start, 1)
            pathlib.Path(log).write_text(json.dumps({"level": "error", "msg": 'exec: "nosuch": executable file not found in $PATH'}))
            """
        broken = programs.conmon(f"{own.bundle}/conmon", text)
        own.store.save(record.replace(conmon=record.conmon._replace(path=broken)))
        with pytest.raises(ProgramFailed, match="it cannot be found") as caught:
            own.start("nosuch")
        assert caught.value.details["rc"] == 127
        own.store.save(record)
        assert own.nothing_is_left(), own.left()


class TestEndOfTheContainer:
    def _wait_ready(self, session: session_store.Session, own: Container) -> None:
        log = SessionPaths(own.paths, session.id).log
        deadline = Deadline(30)
        while b"ready" not in pathlib.Path(log).read_bytes() and deadline.remaining():
            time.sleep(0.01)

    def test_sessions_are_asked_first(self, own: Container) -> None:
        own.change(
            args=["/bin/sh", "-c", "trap 'ls /tmp > /tmp/at-the-end; exit 0' TERM; while :; do sleep 0.05; done"]
        )
        own.converge()
        session = own.start("trap 'touch /tmp/asked; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
        self._wait_ready(session, own)
        outcome = own.converge(Goal.STOPPED, stop=10)
        assert outcome.stop.killed is False
        assert "asked" in pathlib.Path(f"{own.bundle}/rootfs/tmp/at-the-end").read_text().split()
        # Its result can be read until the container is removed.
        assert detached.finish(own.store, own.name, session.id).rc == 0

    def test_all_with_one_deadline(self, own: Container) -> None:
        own.change(args=["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"])
        own.converge()
        for session in [own.start("trap '' TERM; echo ready; while :; do sleep 0.05; done") for _number in range(4)]:
            self._wait_ready(session, own)
        before = time.monotonic()
        own.converge(Goal.STOPPED, stop=1)
        assert time.monotonic() - before < 3.5

    @pytest.mark.parametrize("goal", [Goal.ABSENT, Goal.RESTARTED])
    @pytest.mark.parametrize("paused", [False, True])
    def test_nothing_is_left(self, own: Container, goal: Goal, paused: bool) -> None:
        own.converge()
        made = [own.start("exec sleep 60"), own.start("true")]
        if paused:
            own.converge(Goal.PAUSED)
        own.converge(goal, stop=5)
        assert not any(is_alive(session.process) or is_alive(session.monitor) for session in made)
        assert own.nothing_is_left(), own.left()
        assert not os.path.exists(f"{own.paths.persist}/exec")

    def test_who_waits_is_told(self, own: Container) -> None:
        own.converge()
        results: list[request.Result] = []
        thread = threading.Thread(target=lambda: results.append(own.run("exec sleep 60", session="waited")))
        thread.start()
        deadline = Deadline(30)
        while deadline.remaining():
            session = session_store.load(SessionPaths(own.paths, "waited"))
            if session and session.pid:
                break
            time.sleep(0.01)
        own.converge(Goal.STOPPED, stop=5)
        thread.join()
        assert [result.rc for result in results] == [143]


class TestHostileFiles:
    """What a container can make of its own /etc/passwd. Nobody is looked up for a number, and a name is answered at once."""

    @pytest.fixture(autouse=True)
    def _at_once(self, own: Container) -> t.Iterator[None]:
        own.converge()
        os.makedirs(f"{own.bundle}/rootfs/etc", exist_ok=True)
        before = time.monotonic()
        yield
        assert time.monotonic() - before < 4

    @pytest.mark.parametrize("user", [None, "0", "0:0", "7", "7:8", "app", "0:app"])
    @pytest.mark.parametrize("target", ["/proc/kmsg", "/proc/1/environ", "fifo"])
    def test_what_runc_would_wait_for(self, own: Container, target: str, user: str | None) -> None:
        os.mkfifo(f"{own.bundle}/rootfs/etc/fifo")
        os.symlink(target, f"{own.bundle}/rootfs/etc/passwd")
        with pytest.raises(
            LongshoreError, match=r"/etc/passwd in the container is (a file of the kernel|not a reg).*runc"
        ):
            own.run("true", user=user, limits=Limits(run=5))

    def test_a_lease(self, own: Container) -> None:
        with open(f"{own.bundle}/rootfs/etc/passwd", "w+b") as stream:
            fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(stream, fcntl.F_SETSIG, signal.SIGWINCH)
            with pytest.raises(LongshoreError, match="a process has a lease on it"):
                own.run("true", user="app")
            fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    @pytest.mark.parametrize(("user", "said"), [(None, b"0:0"), ("0", b"0:0"), ("7:8", b"7:8"), ("7", b"7:0")])
    def test_numbers_like_names(self, own: Container, user: str | None, said: bytes) -> None:
        """Whom a number means is not for the container to say."""
        with open(f"{own.bundle}/rootfs/etc/passwd", "w") as stream:
            stream.write("0:x:5:5::/five:/bin/sh\n7:x:0:0::/root:/bin/sh\n")
        with open(f"{own.bundle}/rootfs/etc/group", "w") as stream:
            stream.write("8:x:0:\n")
        assert own.run("echo $(id -u):$(id -g)", user=user, limits=Limits(run=5)).stdout.strip() == said


@pytest.mark.parametrize("user", [None, "0", "7", "7:8"])
def test_a_large_passwd_is_not_needed_for_numbers(own: Container, user: str | None) -> None:
    """A runtime reads it to its end, and waits for no one."""
    own.converge()
    os.makedirs(f"{own.bundle}/rootfs/etc", exist_ok=True)
    pathlib.Path(f"{own.bundle}/rootfs/etc/passwd").write_text(f"{'#' * 1023}\n" * (MOST_BYTES // 1024 + 1))
    assert own.run("true", user=user, limits=Limits(run=5)).rc == 0
    with pytest.raises(LongshoreError, match="is larger than 4194304 bytes") as raised:
        own.run("true", user="app")
    assert raised.value.hint == "Give user and group by their numbers."


# The whole module, as Ansible runs it; its result goes to nobody, and the most memory that it had is said.
MODULE = """
import contextlib, io, json, sys
from ansible.module_utils import basic
from ansible_collections.longshore.oci.plugins.modules import oci_exec

basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": json.loads(sys.argv[1])}).encode()
basic._ANSIBLE_PROFILE = "legacy"
with open("/dev/null", "w") as sys.stdout:
    with contextlib.suppress(SystemExit):
        oci_exec.main()
# Not ru_maxrss: that begins with what the process was before it became this program.
with open("/proc/self/status") as stream:
    print(next(line.split()[1] for line in stream if line.startswith("VmHWM:")), file=sys.stderr)
"""


@pytest.mark.parametrize("text", ["yes", "cat /dev/zero", "cat /dev/urandom", "yes >&2 & cat /dev/zero"])
def test_output_without_end_takes_no_memory(container: Container, text: str) -> None:
    given = {
        "name": container.name, "state_dir": container.store.state_dir, "run_dir": container.store.run_dir,
        "argv": ["/bin/sh", "-c", text], "timeout": 2, "stop_timeout": 0,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", MODULE, json.dumps(given)], env=programs.python_environment(), capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert int(done.stderr.split()[-1]) < 100 << 10, done.stderr
