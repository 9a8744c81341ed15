# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import subprocess
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import files
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, identify, is_alive
from ansible_collections.longshore.oci.plugins.module_utils._conmon.exit_files import EXIT_FILE_SECONDS
from ansible_collections.longshore.oci.plugins.module_utils._exec import session_store
from ansible_collections.longshore.oci.plugins.module_utils._exec.session_store import (
    Ended,
    Seen,
    Session,
    SessionPaths,
)
from ansible_collections.longshore.oci.plugins.module_utils._module.session import describe
from ansible_collections.longshore.oci.plugins.module_utils._state import conmon_processes
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

# The conmon, and the runtime, of these tests are shells.
SHELL = os.path.realpath("/bin/sh")
RECORD = builders.record(conmon=builders.record().conmon._replace(path=SHELL))


@pytest.fixture
def container(tmp_path: pathlib.Path) -> Paths:
    return Paths("web", state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _myself() -> ProcessId:
    return t.cast(ProcessId, identify(os.getpid()))


def _session(**changes: t.Any) -> Session:
    values: dict[str, t.Any] = {
        "id": "one", "argv": ("sleep", "1"), "user": None, "tty": False, "detached": True, "owner": None, "pid": 5,
        "started": 1.5,
    }  # fmt: skip
    return Session(**{**values, **changes})


def _kept(container: Paths, **changes: t.Any) -> SessionPaths:
    session = _session(**changes)
    paths = SessionPaths(container, session.id)
    session_store.lay_out(paths, session)
    return paths


@pytest.mark.parametrize("identifier", ["a", "A-1_2.3", "x" * 64, "0"])
def test_ids(identifier: str) -> None:
    session_store.check_id(identifier)


@pytest.mark.parametrize("identifier", ["", ".", "..", "-a", "a/b", "a b", "x" * 65, "ä", "a\n"])
def test_what_is_no_id(identifier: str) -> None:
    with pytest.raises(InvalidOption, match="cannot be the id of a session"):
        session_store.check_id(identifier)


class TestKept:
    def test_it_comes_back_as_it_was(self, container: Paths) -> None:
        made = _session(owner=_myself(), process=_myself(), monitor=_myself(), user="app", tty=True, timed_out=True)
        paths = SessionPaths(container, "one")
        session_store.lay_out(paths, made)
        assert session_store.load(paths) == made
        assert os.stat(paths.record).st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "one"}', '{"owner": 5}'])
    def test_a_damaged_one_is_none(self, container: Paths, text: str) -> None:
        paths = _kept(container)
        pathlib.Path(paths.record).write_text(text)
        assert session_store.load(paths) is None
        assert session_store.look(paths, RECORD) is None

    def test_forgotten_there_is_nothing_left(self, container: Paths) -> None:
        one, two = _kept(container), _kept(container, id="two")
        pathlib.Path(one.log).write_text("x")
        session_store.forget(one)
        assert os.listdir(container.exec) == ["two.session"]
        session_store.forget(two)
        assert not os.path.exists(container.exec)
        assert os.listdir(container.persist) == []
        session_store.forget(two)

    def test_listed_by_age(self, container: Paths) -> None:
        assert session_store.all_of(container) == []
        for name, started in (("zoo", 1.0), ("ape", 3.0), ("bee", None), ("cow", 2.0)):
            _kept(container, id=name, started=started, pid=5 if started else None)
        assert sorted(paths.id for paths in session_store.all_of(container)) == ["ape", "bee", "cow", "zoo"]
        assert [each.session.id for each in session_store.look_at_all(container, RECORD)] == [
            "zoo",
            "cow",
            "ape",
            "bee",
        ]
        assert session_store.look_at_all(container, None) == []


class TestAbandoned:
    GONE = ProcessId(1, 0, "an earlier boot")

    @pytest.mark.parametrize(
        ("changes", "abandoned"),
        [
            ({"detached": True, "owner": GONE}, False),
            ({"detached": True, "owner": GONE, "pid": None}, True),  # killed while it launched
            ({"detached": False, "owner": GONE}, True),
            ({"detached": False, "owner": None}, True),
        ],
    )
    def test_of_a_task_that_is_gone(self, changes: dict[str, t.Any], abandoned: bool) -> None:
        assert _session(**changes).abandoned is abandoned

    @pytest.mark.parametrize("changes", [{"detached": False}, {"detached": True, "pid": None}])
    def test_of_a_task_that_lives(self, changes: dict[str, t.Any]) -> None:
        assert _session(owner=_myself(), **changes).abandoned is False


class TestEnd:
    def test_it_runs(self, container: Paths) -> None:
        paths = _kept(container, process=_myself())
        session = t.cast(Session, session_store.load(paths))
        assert session_store.ended(paths, RECORD, session) is None
        listed = describe(t.cast(Seen, session_store.look(paths, RECORD)))
        assert (listed["status"], listed["pid"], listed["rc"]) == ("running", 5, None)
        assert listed["started_at"] == "1970-01-01T00:00:01.500000Z"

    def test_it_is_being_launched(self, container: Paths) -> None:
        listed = describe(t.cast(Seen, session_store.look(_kept(container, pid=None), RECORD)))
        assert listed["status"] == "starting"

    @pytest.mark.parametrize(("where", "code"), [("exits", "7"), ("persist", "137")])
    def test_conmon_has_written_how(self, container: Paths, where: str, code: str) -> None:
        """Two files on two file systems: one that is full leaves an empty file."""
        paths = _kept(container, process=_myself())
        files = {"exits": f"{paths.exits}/web", "persist": f"{paths.persist}/exit"}
        for name, file in files.items():
            pathlib.Path(file).write_text(code if name == where else "")
        listed = describe(t.cast(Seen, session_store.look(paths, RECORD)))
        assert (listed["status"], listed["rc"], listed["pid"]) == ("finished", int(code), None)
        assert listed["signal"] == {"7": None, "137": "KILL"}[code]
        assert listed["finished_at"].endswith("Z")

    def test_nobody_knows_how(self, container: Paths) -> None:
        paths = _kept(container)
        assert session_store.ended(paths, RECORD, _session()) == Ended(None, None)


@pytest.mark.parametrize(
    ("code", "name"), [(None, None), (0, None), (128, None), (129, "HUP"), (137, "KILL"), (143, "TERM"), (193, None), (255, None)]
)  # fmt: skip
def test_signals(code: int | None, name: str | None) -> None:
    assert session_store.signal_of(code) == name


@pytest.mark.impure
class TestLaunchOfAKilledTask:
    """Its pid file names a process that nobody has looked at yet. crun 1.21 hides that one from other users than root until it is
    done itself."""

    def _launched(self, container: Paths, spawn: t.Any) -> tuple[SessionPaths, ProcessId]:
        paths = _kept(container, detached=False, pid=None)
        # As long as it is the runtime's own, it has that one's command line. It has no child, which would have it too for a moment.
        child = spawn("sh", "-c", "kill -STOP $$", "conmon", "--container-pidfile", paths.pidfile)
        pathlib.Path(paths.pidfile).write_text(str(child.pid))
        return paths, t.cast(ProcessId, identify(child.pid))

    def test_it_is_ended_when_the_runtime_is_done(
        self, container: Paths, spawn: t.Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths, process = self._launched(container, spawn)
        # With a second command, or the shell would become the first, which does not have these words.
        runtime = spawn("sh", "-c", "sleep 0.5; true", "runc", "--pid-file", paths.pidfile)
        record = RECORD.replace(runtime=RECORD.runtime._replace(path="sh"), init=_myself())

        def readlink(path: str) -> str:
            if runtime.poll() is None:
                raise PermissionError
            return original(path)

        original = os.readlink
        monkeypatch.setattr(os, "readlink", readlink)
        before = time.monotonic()
        session_store.clear_away(paths, record, grace=0, kill=5)
        assert time.monotonic() - before < EXIT_FILE_SECONDS - 1
        assert not is_alive(process)
        assert not os.path.exists(paths.bundle)

    def test_a_conmon_that_was_not_there_yet(
        self, container: Paths, spawn: t.Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It writes while its directory is removed, and is found by then."""
        paths, process = self._launched(container, spawn)
        pathlib.Path(paths.pidfile).unlink()
        looks: list[str] = []

        def find(*arguments: t.Any) -> list[ProcessId]:
            looks.append("found")
            return original(*arguments) if "removed" in looks else []

        def remove(path: str) -> None:
            looks.append("removed")
            if looks.count("removed") == 1:
                raise LongshoreError("Directory not empty")
            files.remove_tree(path)

        original = conmon_processes.find_conmons
        monkeypatch.setattr(session_store, "find_conmons", find)
        monkeypatch.setattr(session_store, "remove_tree", remove)
        monkeypatch.setattr(session_store, "EXIT_FILE_SECONDS", 0.2)
        session_store.clear_away(paths, RECORD.replace(init=_myself()), grace=0, kill=5)
        assert not is_alive(process)
        assert not os.path.exists(paths.bundle)

    def test_one_that_stays_hidden_is_not_forgotten(
        self, container: Paths, spawn: t.Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths, process = self._launched(container, spawn)

        def readlink(path: str) -> str:
            raise PermissionError(path)

        with monkeypatch.context() as context:
            context.setattr(os, "readlink", readlink)
            session_store.clear_away(paths, RECORD.replace(init=_myself()), grace=0, kill=5)
        assert is_alive(process)
        assert session_store.load(paths) is not None
        session_store.clear_away(paths, RECORD.replace(init=_myself()), grace=0, kill=5)
        assert not is_alive(process)


@pytest.mark.impure
class TestFamilies:
    """Real processes; the shell is the leader of a session, as what a runtime starts is."""

    def _start(self, spawn: t.Any, text: str) -> ProcessId:
        read, write = os.pipe()
        os.set_inheritable(write, True)
        child: subprocess.Popen[bytes] = spawn(
            "sh", "-c", text.replace("ready", f"echo >/proc/{os.getpid()}/fd/{write}")
        )
        os.read(read, 1)
        os.close(read)
        os.close(write)
        return t.cast(ProcessId, identify(child.pid))

    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("ready; exec sleep 60", 1),
            ("sleep 60 & sleep 60 & ready; wait", 3),
            ("(sleep 60 & sleep 60 & wait) & ready; wait", None),
            # Another process group, another session, a parent that is gone.
            ("setsid sh -c 'sleep 60 & wait' & ready; wait", None),
            ("(sleep 60 &); ready; exec sleep 60", 2),
        ],
    )
    def test_all_of_it_ends(self, spawn: t.Any, text: str, size: int | None) -> None:
        leader = self._start(spawn, text)
        found = session_store.family(leader)
        assert leader in found
        assert len(found) == size if size else len(found) > 1
        assert os.getpid() not in {process.pid for process in found}
        assert session_store.end_families([leader], grace=30, kill=30) == []
        assert not any(map(is_alive, found))

    def test_what_a_leader_that_is_gone_has_left(self, spawn: t.Any) -> None:
        leader = self._start(spawn, "sleep 60 & ready; sleep 0.2")
        with PidFd(leader) as handle:
            assert handle.wait(Deadline(30))
        child = next(process for process in session_store.family(leader) if process != leader)
        assert session_store.end_families([leader], grace=30, kill=30) == []
        assert not is_alive(child)

    def test_what_ignores_term(self, spawn: t.Any) -> None:
        leader = self._start(spawn, "trap '' TERM; sleep 60 & ready; wait")
        assert session_store.end_families([leader], grace=0.05, kill=30) == []

    def test_no_grace(self, spawn: t.Any, tmp_path: pathlib.Path) -> None:
        leader = self._start(spawn, f"trap 'touch {tmp_path}/asked; exit' TERM; ready; while :; do sleep 0.01; done")
        assert session_store.end_families([leader], grace=0, kill=30) == []
        assert list(tmp_path.iterdir()) == []

    def test_somebody_else_with_its_number(self, spawn: t.Any) -> None:
        leader = self._start(spawn, "ready; exec sleep 60")
        assert session_store.family(leader._replace(start=leader.start - 1)) == []
        assert session_store.family(leader._replace(boot="another")) == []
        assert session_store.end_families([], grace=30, kill=30) == []
        assert is_alive(leader)
