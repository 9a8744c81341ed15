# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""conmon_launch: with the real conmon and runc, and with scripted ones for the ways in which it can go wrong."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline, wait_readable
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import DeadlineExceeded, ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._base.files import make_directory, read_text
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd, kill_and_wait
from ansible_collections.longshore.oci.plugins.module_utils._base.process import boot_id, identify, is_alive
from ansible_collections.longshore.oci.plugins.module_utils._conmon import conmon_launch, create_command
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup
from ansible_collections.longshore.oci.plugins.module_utils._host.detect import Host
from ansible_collections.longshore.oci.plugins.module_utils._runtime.deletion import Deletion
from ansible_collections.longshore.oci.plugins.module_utils._runtime.failure import error_in
from ansible_collections.longshore.oci.plugins.module_utils._runtime.runtime import Runtime
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Record
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders, bundle, programs


def _nowhere(_pid: int) -> None:
    """Leave conmon in the cgroup that it is in."""


def _until_it_ended(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        assert wait_readable([descriptor], Deadline(30))
    finally:
        os.close(descriptor)


class Scripted:
    """A launch of a conmon that does what its text says."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.pids: list[int] = []

    def launch(self, text: str, *, seconds: float = 30, place: t.Callable[[int], None] = _nowhere, **env: str) -> int:
        def note(pid: int) -> None:
            self.pids.append(pid)
            place(pid)

        with conmon_launch.launch(
            [programs.conmon(self.directory / "conmon", text), "--word"], directory=str(self.directory),
            output=f"{self.directory}/output", environment=env, place=note,
        ) as pipes:  # fmt: skip
            pipes["START"].go_on()
            return conmon_launch.read_pid(pipes["SYNC"], Deadline(seconds))


@pytest.fixture
def scripted(tmp_path: pathlib.Path, open_files: t.Callable[[], dict[str, str]]) -> t.Iterator[Scripted]:
    """Afterwards conmon has to be dead and reaped, and nothing may be open that was not before."""
    before = open_files()
    launched = Scripted(tmp_path)
    yield launched
    assert open_files() == before
    assert [pid for pid in launched.pids if os.path.exists(f"/proc/{pid}")] == []


class TestReports:
    @pytest.mark.parametrize(
        "text",
        [
            """report('{"data": 4711}\\n')""",
            """report('{"pid": 4711}\\n')""",  # without --api-version
            """report('{"data": 4711}\\n{"data": 0}\\n')""",
            """report('{"da'); report('ta": 4711}'); report('\\n')""",
            """report('{"data": 4711}')""",
            """report('{"data": 4711, "message": null}\\n')""",
        ],
    )
    def test_success(self, scripted: Scripted, text: str) -> None:
        assert scripted.launch(f"os.read(start, 1)\n{text}") == 4711

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            # The runtime failed and said why.
            ("""report('{"data": -1, "message": "no such luck\\\\n"}\\n')""", "no such luck"),
            # The raw wait status of a runtime that failed.
            ("""report('{"data": -256}\\n')""", ""),
            ("""report('{"data": 0}\\n')""", ""),
            ("""report('{"pid": -1, "message": "of old"}\\n')""", "of old"),
            # conmon up to 2.1.13 says nothing when the runtime said nothing.
            ("", ""),
            ("sys.exit(1)", ""),
            ("os.kill(os.getpid(), signal.SIGKILL)", ""),
            ("""report('\\n')""", ""),
            ("""report('Segmentation fault\\n')""", "conmon reported 'Segmentation fault', which is not understood"),
            ("""report('{"data"')""", """conmon reported '{"data"', which is not understood"""),
            ("""report('{"message": "hm"}\\n')""", """conmon reported '{"message": "hm"}', which is not understood"""),
            ("""report('[]\\n')""", "conmon reported '[]', which is not understood"),
            ("""report('"data"\\n')""", """conmon reported '"data"', which is not understood"""),
            ("""report('{"data": "x"}\\n')""", """conmon reported '{"data": "x"}', which is not understood"""),
            ("""report('{"data": null}\\n')""", """conmon reported '{"data": null}', which is not understood"""),
            ("""os.write(sync, b'\\xff\\n')""", "conmon reported '\ufffd', which is not understood"),
        ],
    )
    def test_failure(self, scripted: Scripted, text: str, says: str) -> None:
        with pytest.raises(ProgramFailed) as caught:
            scripted.launch(f"os.read(start, 1)\n{text}")
        assert caught.value.message == says


class TestDeaths:
    def test_before_the_start_byte(self, scripted: Scripted) -> None:
        """Such as for a bad option: conmon says so on stderr only, and the byte has nobody to go to."""
        with pytest.raises(ProgramFailed, match=r"^conmon ended before it was told to continue$"):
            scripted.launch("sys.exit('bad option')", place=_until_it_ended)
        assert read_text(f"{scripted.directory}/output") == "bad option\n"

    def test_of_a_conmon_that_never_detaches(self, scripted: Scripted) -> None:
        with pytest.raises(DeadlineExceeded, match="did not report in time, and conmon has not even detached"):
            scripted.launch("signal.pause()", seconds=0.2)

    def test_of_a_conmon_that_waits_for_ever(self, scripted: Scripted) -> None:
        """The first process has ended, as it should; the second is the caller's to sweep."""
        text = """
            child = os.fork()
            if child:
                open("child", "w").write(str(child))
                sys.exit(0)
            signal.pause()
            """
        with pytest.raises(DeadlineExceeded, match=r"did not report in time$"):
            scripted.launch(text, seconds=0.2, place=_until_it_ended)
        child = identify(int(read_text(f"{scripted.directory}/child") or ""))
        assert child is not None
        assert kill_and_wait([child], Deadline(30)) == []

    @pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
    def test_when_it_cannot_be_placed(self, scripted: Scripted, kind: type[BaseException]) -> None:
        def fail(_pid: int) -> None:
            raise kind

        with pytest.raises(kind):
            scripted.launch("os.read(start, 1)\nopen('went on', 'w')", place=fail)
        assert "went on" not in os.listdir(scripted.directory)

    def test_of_one_that_is_not_there(self, tmp_path: pathlib.Path) -> None:
        launch = conmon_launch.launch(
            ["/nowhere/conmon"], directory=str(tmp_path), output=f"{tmp_path}/output", environment={}, place=_nowhere
        )
        with pytest.raises(ProgramFailed, match=r"Cannot run conmon \(/nowhere/conmon\): No such file"), launch:
            pass


def test_it_waits_to_be_placed(scripted: Scripted) -> None:
    """What conmon starts has to be in its cgroup from the first moment."""

    def place(_pid: int) -> None:
        with open(f"{scripted.directory}/placed", "w", encoding="utf-8"):
            pass

    text = """byte = os.read(start, 1)\nreport('{"data": %d}\\n' % (7 if byte == b"\\0" and os.path.exists("placed") else -1))"""
    assert scripted.launch(text, place=place) == 7


TELL = """
found = {}
for number in os.listdir("/proc/self/fd"):
    if os.path.exists(f"/proc/self/fd/{number}"):
        found[number] = os.readlink(f"/proc/self/fd/{number}")
json.dump({
    "fds": found, "env": dict(os.environ), "cwd": os.getcwd(), "argv": sys.argv, "pipes": [str(sync), str(start)],
    "session": os.getsid(0) == os.getpid(),
}, open("told", "w"))
report('{"data": 7}\\n')
"""


class TestWhatConmonGets:
    def _told(self, scripted: Scripted, **environment: t.Any) -> dict[str, t.Any]:
        assert scripted.launch(TELL, **environment) == 7
        return dict(json.loads(read_text(f"{scripted.directory}/told") or ""))

    def test_only_the_files_that_it_needs(self, scripted: Scripted) -> None:
        leak = os.open("/dev/zero", os.O_RDONLY)
        os.set_inheritable(leak, True)
        try:
            told = self._told(scripted)
        finally:
            os.close(leak)
        output = f"{scripted.directory}/output"
        assert {number: told["fds"].pop(number) for number in "012"} == {"0": "/dev/null", "1": output, "2": output}
        assert set(told["fds"]) == set(told["pipes"])
        assert all(name.startswith("socket:") for name in told["fds"].values())

    def test_an_environment_of_its_own(self, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/app")
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "DBUS_SESSION_BUS_ADDRESS", "LD_PRELOAD_NOT", "PASSWORD"):
            monkeypatch.setenv(name, "theirs")
        told = self._told(scripted, TMPDIR="/var/tmp")
        assert told["env"].pop("_OCI_SYNCPIPE") == told["pipes"][0]
        assert told["env"].pop("_OCI_STARTPIPE") == told["pipes"][1]
        assert told["env"] == {
            "HOME": "/home/app", "LC_ALL": "C.UTF-8", "TMPDIR": "/var/tmp",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }  # fmt: skip

    def test_a_session_and_a_directory_of_its_own(self, scripted: Scripted) -> None:
        told = self._told(scripted)
        assert told["session"] is True
        assert told["cwd"] == str(scripted.directory)
        assert told["argv"][1:] == ["--word"]

    def test_its_output_is_for_nobody_else(self, scripted: Scripted) -> None:
        self._told(scripted)
        assert os.stat(f"{scripted.directory}/output").st_mode & 0o777 == 0o600

    def test_the_pipes_are_ours_to_name(self, scripted: Scripted) -> None:
        told = self._told(scripted, _OCI_SYNCPIPE="99")
        assert told["env"]["_OCI_SYNCPIPE"] == told["pipes"][0] != "99"


class TestReal:
    """With the conmon and the runc of this host."""

    @pytest.fixture
    def prepared(self, tmp_path: pathlib.Path, scratch_cgroup: str) -> t.Iterator[tuple[Record, Paths]]:
        host = Host(run_dir=f"{tmp_path}/host")
        name = os.path.basename(scratch_cgroup)
        paths = Paths(name, state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
        for directory in (paths.bundle, paths.exits, paths.persist, f"{tmp_path}/runc"):
            make_directory(directory)
        record = builders.record(
            name=name, runtime=host.runtime("runc"), conmon=host.conmon(None), runtime_root=f"{tmp_path}/runc",
            boot=boot_id(), log_path=f"{tmp_path}/log",
        )  # fmt: skip
        yield record, paths
        Deletion(record, paths.runtime_log).delete()

    def _launch(self, prepared: tuple[Record, Paths], *args: str, scratch_cgroup: str) -> int:
        record, paths = prepared
        bundle.make(paths.bundle, *args, cgroup=f"{scratch_cgroup}/container")
        with conmon_launch.launch(
            create_command.create_argv(record, paths, terminal=False), directory=paths.bundle, output=paths.conmon_log,
            environment={}, place=lambda pid: cgroup.place(f"{scratch_cgroup}/conmon", pid),
        ) as pipes:  # fmt: skip
            pipes["START"].go_on()
            return conmon_launch.read_pid(pipes["SYNC"], Deadline(60))

    def test_a_container(
        self, prepared: tuple[Record, Paths], scratch_cgroup: str, open_files: t.Callable[[], dict[str, str]]
    ) -> None:
        record, paths = prepared
        before = open_files()
        pid = self._launch(prepared, "sh", "-c", "echo hello; exit 7", scratch_cgroup=scratch_cgroup)
        assert open_files() == before
        init, monitor = identify(pid), identify(int(read_text(paths.conmon_pidfile) or ""))
        assert is_alive(init)
        assert is_alive(monitor)
        assert cgroup.path_of(init.pid if init else 0) == f"{scratch_cgroup}/container"
        assert cgroup.path_of(monitor.pid if monitor else 0) == f"{scratch_cgroup}/conmon"
        assert read_text(paths.pidfile) == str(pid)
        with PidFd(monitor) as handle:
            Runtime(record, paths.runtime_log).call("start")
            assert handle.wait(Deadline(60))
        assert read_text(f"{paths.exits}/exit") == read_text(f"{paths.persist}/{record.name}") == "7"
        assert (read_text(str(record.log_path)) or "").endswith(" stdout F hello\n")

    def test_a_program_that_is_not_there(
        self, prepared: tuple[Record, Paths], scratch_cgroup: str, open_files: t.Callable[[], dict[str, str]]
    ) -> None:
        record, paths = prepared
        before = open_files()
        with pytest.raises(ProgramFailed, match=r"no-such-program.*executable file not found"):
            self._launch(prepared, "no-such-program", scratch_cgroup=scratch_cgroup)
        assert open_files() == before
        assert "executable file not found" in str(error_in(paths.runtime_log))
        assert not os.path.exists(f"{record.runtime_root}/{record.name}")

    def test_a_log_that_conmon_cannot_open(self, prepared: tuple[Record, Paths], scratch_cgroup: str) -> None:
        """It ends before it reads the start byte, or without a report: which of both is a race. Why is on its stderr."""
        record, paths = prepared
        broken = record.replace(log_path="/nowhere/log"), paths
        with pytest.raises(ProgramFailed):
            self._launch(broken, "true", scratch_cgroup=scratch_cgroup)
        assert "Failed to open log file" in (read_text(paths.conmon_log) or "")
