# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as another program would use it; each state on each host is the integration tests' to see."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline, wait_readable
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    Conflict,
    InvalidOption,
    LongshoreError,
    ProgramFailed,
    WrongState,
)
from ansible_collections.longshore.oci.plugins.module_utils._base.inotify import Watch
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd, kill_and_wait
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, is_alive
from ansible_collections.longshore.oci.plugins.module_utils._exec import run
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Action,
    CgroupManager,
    Definition,
    Desired,
    Exit,
    Goal,
    LogDriver,
    Record,
    Recreate,
    Status,
    Timeouts,
)
from ansible_collections.longshore.oci.tests.unit import bundle

_IN_MODIFY = 0x02


def _tree(directory: pathlib.Path) -> list[str]:
    return sorted(os.path.join(top, name) for top, dirs, files in os.walk(directory) for name in dirs + files)


@pytest.fixture
def engine(tmp_path: pathlib.Path) -> Containers:
    return Containers(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


@pytest.mark.pure
class TestNothing:
    @pytest.mark.parametrize("check", [True, False])
    def test_absent_from_the_start(self, engine: Containers, tmp_path: pathlib.Path, check: bool) -> None:
        outcome = engine.converge(Desired("web", Goal.ABSENT), check=check)
        assert (outcome.actions, outcome.after.status) == ((), Status.ABSENT)
        assert _tree(tmp_path) == []

    @pytest.mark.parametrize("check", [True, False])
    @pytest.mark.parametrize("name", ["", "a/b", ".."])
    def test_a_bad_name(self, engine: Containers, tmp_path: pathlib.Path, check: bool, name: str) -> None:
        with pytest.raises(InvalidOption, match="cannot be the name"):
            engine.converge(Desired(name), check=check)
        with pytest.raises(InvalidOption, match="cannot be the name"):
            engine.observe(name)
        assert _tree(tmp_path) == []

    @pytest.mark.parametrize("check", [True, False])
    def test_no_bundle(self, engine: Containers, tmp_path: pathlib.Path, check: bool) -> None:
        with pytest.raises(WrongState, match="web does not exist and there is no bundle"):
            engine.converge(Desired("web"), check=check)
        assert _tree(tmp_path) == []


class TestLife:
    """One container with the runc of this host."""

    @pytest.fixture
    def definition(self, tmp_path: pathlib.Path, scratch_cgroup: str) -> t.Iterator[Definition]:
        (tmp_path / "bundle").mkdir()
        path = bundle.make(tmp_path / "bundle", "sleep", "60")
        yield Definition(
            bundle=path, runtime="runc", cgroup_manager=CgroupManager.CGROUPFS, cgroup_parent=scratch_cgroup
        )
        cgroup_removal.remove(scratch_cgroup)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    @pytest.mark.parametrize(
        ("goal", "actions", "status"),
        [
            (Goal.STARTED, (Action.REMOVE, Action.CREATE, Action.START), Status.RUNNING),
            (Goal.PAUSED, (Action.REMOVE, Action.CREATE, Action.START, Action.PAUSE), Status.PAUSED),
            (Goal.RESTARTED, (Action.REMOVE, Action.CREATE, Action.START), Status.RUNNING),
            (Goal.STOPPED, (Action.STOP,), Status.STOPPED),
            (Goal.ABSENT, (Action.REMOVE,), Status.ABSENT),
        ],
    )
    def test_one_that_was_killed_while_it_is_paused(
        self,
        engine: Containers,
        name: str,
        definition: Definition,
        goal: Goal,
        actions: t.Any,
        status: Status,
        number: int,
    ) -> None:
        """A v1 freezer holds the signal back: it is dead as soon as it goes on. With v2 it is dead at once."""
        if not os.path.isdir("/sys/fs/cgroup/freezer"):
            pytest.skip("there is no freezer of v1 on this host")
        document = json.loads(pathlib.Path(definition.bundle, "config.json").read_text())
        document["linux"]["namespaces"] = [
            {"type": "mount"}
        ]  # SIGTERM means nothing to the first process of a pid namespace
        pathlib.Path(definition.bundle, "config.json").write_text(json.dumps(document))
        paused = engine.converge(Desired(name, Goal.PAUSED, definition)).after
        try:
            init = t.cast(ProcessId, t.cast(Record, paused.record).init)
            os.kill(init.pid, number)
            seen = engine.observe(name)
            code = 128 + number
            assert (seen.status, seen.exit) == (Status.STOPPED, Exit(code, "killed", None, False))
            with pytest.raises(WrongState, match=f"has ended with exit code {code}, so no command can run"):
                run.running(engine.store, name)
            assert cgroup.is_frozen(t.cast(Record, seen.record).cgroup_path)
            wanted = Desired(name, goal, timeouts=Timeouts(stop=20))
            assert engine.converge(wanted, check=True).actions == actions
            outcome = engine.converge(wanted)
            assert (outcome.actions, outcome.after.status) == (actions, status)
            assert not is_alive(init)
            assert engine.converge(wanted).actions == () or goal is Goal.RESTARTED
            if goal is Goal.STOPPED:
                assert outcome.after.exit is not None
                assert (outcome.after.exit.code, outcome.after.exit.reason) == (code, "killed")
        finally:
            engine.converge(Desired(name, Goal.ABSENT, timeouts=Timeouts(stop=0)))

    def test_one_that_is_only_paused_is_no_such(self, engine: Containers, name: str, definition: Definition) -> None:
        """A signal that it handles, or that means nothing to it, waits too."""
        paused = engine.converge(Desired(name, Goal.PAUSED, definition)).after
        try:
            os.kill(t.cast(ProcessId, t.cast(Record, paused.record).init).pid, signal.SIGTERM)
            assert engine.observe(name).status is Status.PAUSED
            outcome = engine.converge(Desired(name, Goal.STARTED))
            assert (outcome.actions, outcome.after.status) == ((Action.RESUME,), Status.RUNNING)
        finally:
            engine.converge(Desired(name, Goal.ABSENT, timeouts=Timeouts(stop=0)))

    def test_the_same_name_in_another_state_directory(
        self, engine: Containers, name: str, definition: Definition, tmp_path: pathlib.Path
    ) -> None:
        """Nothing that is done to the one is done to the other, which runs all the while."""
        first = t.cast(Record, engine.converge(Desired(name, Goal.STARTED, definition)).after.record)
        (tmp_path / "other").mkdir()
        wanted = definition._replace(bundle=bundle.make(tmp_path / "other", "sleep", "60"))
        shared = Containers(state_dir=f"{tmp_path}/other state", run_dir=engine.store.run_dir)
        for goal in (Goal.STARTED, Goal.ABSENT):
            with pytest.raises(Conflict, match=r"belongs to the container .* in another state directory"):
                shared.converge(Desired(name, goal, wanted if goal is Goal.STARTED else None))
        other = Containers(state_dir=f"{tmp_path}/other state", run_dir=f"{tmp_path}/other run")
        for goal in (Goal.STARTED, Goal.RESTARTED, Goal.ABSENT):
            done = other.converge(
                Desired(name, goal, wanted if goal is Goal.STARTED else None, timeouts=Timeouts(stop=0))
            )
            assert done.actions
            assert is_alive(first.init)
        moved = Containers(state_dir=engine.store.state_dir, run_dir=f"{tmp_path}/other run")
        with pytest.raises(Conflict, match="runs with run_dir"):
            moved.converge(Desired(name, Goal.ABSENT))
        assert is_alive(first.init)

    def test_the_names_of_an_earlier_release(
        self, engine: Containers, name: str, definition: Definition, tmp_path: pathlib.Path
    ) -> None:
        """They were the same for all state directories. A container that has ended may find its own with another."""
        other = Containers(state_dir=f"{tmp_path}/other state", run_dir=f"{tmp_path}/other run")
        (tmp_path / "other").mkdir()
        wanted = definition._replace(bundle=bundle.make(tmp_path / "other", "sleep", "60"))
        realms, other.store.realm, engine.store.realm = (other.store.realm, engine.store.realm), "", ""
        ended = t.cast(Record, other.converge(Desired(name, Goal.STARTED, wanted)).after.record)
        kill_and_wait([t.cast(ProcessId, ended.init)], Deadline(5))
        assert other.observe(name).status is Status.STOPPED
        running = t.cast(Record, engine.converge(Desired(name, Goal.STARTED, definition)).after.record)
        assert running.cgroup_path == ended.cgroup_path
        other.store.realm, engine.store.realm = realms
        assert other.converge(Desired(name, Goal.ABSENT)).after.status is Status.ABSENT
        assert is_alive(running.init)
        assert engine.converge(Desired(name, Goal.ABSENT, timeouts=Timeouts(stop=0))).actions == (
            Action.STOP,
            Action.REMOVE,
        )
        assert not is_alive(running.init)
        assert cgroup_removal.members(running.cgroup_path) == []

    def test_a_cgroup_of_others_is_neither_joined_nor_cleared_away(
        self, engine: Containers, name: str, definition: Definition, spawn: t.Any
    ) -> None:
        child = spawn()
        path = f"{definition.cgroup_parent}/{name}@{engine.store.realm}"
        cgroup.place(path, child.pid)
        with pytest.raises(Conflict, match=f"has process {child.pid}, which does not belong to the container"):
            engine.converge(Desired(name, Goal.STARTED, definition))
        assert child.poll() is None
        assert engine.observe(name).status is Status.ABSENT
        cgroup_removal.kill(path, Deadline(5))
        child.wait()

    @pytest.fixture
    def name(self, engine: Containers, scratch_cgroup: str, definition: Definition) -> t.Iterator[str]:
        name = os.path.basename(scratch_cgroup)
        yield name
        engine.converge(Desired(name, Goal.ABSENT, timeouts=Timeouts(stop=0)))

    def test_all_of_it(
        self,
        engine: Containers,
        name: str,
        definition: Definition,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        started = engine.converge(Desired(name, Goal.STARTED, definition))
        assert (started.actions, started.after.status) == ((Action.CREATE, Action.START), Status.RUNNING)
        assert started.after.monitored is True
        record = started.after.record
        assert record is not None
        assert record.cgroup_path == f"{definition.cgroup_parent}/{name}@{engine.store.realm}"

        # Where nothing is to be done, no process starts and nothing is written.
        before = _tree(tmp_path)
        stamps = [os.lstat(path).st_mtime_ns for path in before]
        monkeypatch.setattr(subprocess, "Popen", None)
        for wanted in (definition, None):
            assert engine.converge(Desired(name, Goal.STARTED, wanted)).actions == ()
        assert (_tree(tmp_path), [os.lstat(path).st_mtime_ns for path in before]) == (before, stamps)
        monkeypatch.undo()

        stopped = engine.converge(Desired(name, Goal.STOPPED, timeouts=Timeouts(stop=0)))
        assert (stopped.actions, stopped.after.status) == ((Action.STOP,), Status.STOPPED)
        assert stopped.after.exit is not None
        assert (stopped.after.exit.code, stopped.after.exit.reason) == (137, "killed")

        gone = engine.converge(Desired(name, Goal.ABSENT))
        assert (gone.actions, gone.after.status) == ((Action.REMOVE,), Status.ABSENT)
        assert engine.store.names() == []
        assert cgroup.directories(f"{definition.cgroup_parent}/{name}@{engine.store.realm}") == []
        assert [path for path in _tree(tmp_path) if name in path] == []

    @pytest.mark.parametrize(
        ("goal", "actions", "status"),
        [
            (Goal.STOPPED, (Action.STOP,), Status.STOPPED),
            (Goal.PRESENT, (Action.STOP,), Status.STOPPED),
            (Goal.STARTED, (Action.REMOVE, Action.CREATE, Action.START), Status.RUNNING),
            (Goal.ABSENT, (Action.REMOVE,), Status.ABSENT),
        ],
    )
    @pytest.mark.parametrize("deep", [False, True])
    def test_processes_that_the_first_one_has_left(
        self, engine: Containers, name: str, definition: Definition, tmp_path: pathlib.Path,
        goal: Goal, actions: t.Any, status: Status, deep: bool,
    ) -> None:  # fmt: skip
        """In the pid namespace of the host, they continue. podman ends them."""
        path = tmp_path / "bundle" / "config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings["process"]["args"] = ["sh", "-c", "sleep 1000 & setsid sleep 1000 & exit 5"]
        settings["linux"]["namespaces"] = [each for each in settings["linux"]["namespaces"] if each["type"] != "pid"]
        path.write_text(json.dumps(settings), encoding="utf-8")
        at_once = Timeouts(stop=0)
        started = engine.converge(Desired(name, Goal.STARTED, definition, timeouts=at_once)).after.record
        assert started is not None
        with PidFd(started.init) as init:
            assert init.wait(Deadline(30))
        left = cgroup_removal.members(started.cgroup_path)
        assert len(left) == 2
        if deep:
            cgroup.place(f"{started.cgroup_path}/below", left[0].pid)
            cgroup.place(f"{started.cgroup_path}/below", left[1].pid)
        seen = engine.observe(name)
        assert (seen.status, seen.exit and seen.exit.code) == (Status.STOPPED, 5)
        for check in (True, False):
            done = engine.converge(Desired(name, goal, definition, timeouts=at_once), check=check)
            assert done.actions == actions
        assert done.after.status is status or goal is Goal.STARTED
        assert not any(map(is_alive, left))
        if goal in (Goal.STOPPED, Goal.PRESENT):
            assert done.after.exit is not None
            assert done.after.exit.code == 5
            assert engine.converge(Desired(name, goal, definition, timeouts=at_once)).actions == ()

    @pytest.mark.parametrize("size", [1000, 60000, 200000, 3000000])
    def test_an_error_of_any_length(
        self, engine: Containers, name: str, definition: Definition, tmp_path: pathlib.Path, size: int
    ) -> None:
        """conmon reads it after the end of the runtime, and a pipe has room for 64 KiB."""
        path = tmp_path / "bundle" / "config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        script = f"head -c {size} /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1"
        settings["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
        path.write_text(json.dumps(settings), encoding="utf-8")
        deadline = Deadline(60)
        with pytest.raises(ProgramFailed, match=r"Cannot create the container .*the end\.?$") as caught:
            engine.converge(Desired(name, Goal.STARTED, definition, timeouts=Timeouts(create=60)))
        assert len(caught.value.message) < 4100
        assert deadline.remaining() > 30
        assert engine.observe(name).status is Status.ABSENT

    def test_a_log_whose_directory_is_removed(
        self, engine: Containers, name: str, definition: Definition, tmp_path: pathlib.Path
    ) -> None:
        """conmon ends when it wants to start an empty log, and the container continues."""
        path = tmp_path / "bundle" / "config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings["process"]["args"] = ["sh", "-c", "while true; do sleep 0.1; echo 0123456789; done"]
        path.write_text(json.dumps(settings), encoding="utf-8")
        (tmp_path / "logs").mkdir()
        wanted = definition._replace(log_path=f"{tmp_path}/logs/log", log_size_max=100)
        started = engine.converge(Desired(name, Goal.STARTED, wanted))
        assert started.after.record is not None
        shutil.rmtree(tmp_path / "logs")
        with PidFd(started.after.record.monitor) as monitor:
            assert monitor.wait(Deadline(30))
        for check in (True, False):
            again = engine.converge(Desired(name, Goal.STARTED, wanted), check=check)
            assert (again.actions, again.after.status, again.after.monitored) == ((), Status.RUNNING, False)
            assert again.warnings[0].startswith(f"conmon of {name} has ended")

    @pytest.mark.parametrize("user", [0, 1000])
    def test_the_log_of_passthrough(
        self, engine: Containers, name: str, definition: Definition, tmp_path: pathlib.Path, user: int
    ) -> None:
        """The container can neither truncate nor own it. What is written last is there, too, when the container is removed at once."""
        script = "echo a; echo b >/dev/stdout; echo c; echo d >/dev/stderr; cat /end; echo e >&2"
        path = tmp_path / "bundle" / "config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings["process"].update(args=["sh", "-c", f"{script}; exec sleep 60"], user={"uid": user, "gid": user})
        path.write_text(json.dumps(settings), encoding="utf-8")
        (tmp_path / "bundle" / "rootfs" / "end").write_text("x" * 60000 + "\n", encoding="utf-8")
        log = tmp_path / "log"
        log.write_text("before\n", encoding="utf-8")
        wanted = definition._replace(log_driver=LogDriver.PASSTHROUGH, log_path=str(log))
        engine.converge(Desired(name, Goal.STARTED, wanted))
        with Watch(str(log), _IN_MODIFY) as watch:
            while not log.read_text(encoding="utf-8").endswith("\ne\n"):
                assert wait_readable([watch.fd], Deadline(30))
                watch.clear()
        engine.converge(Desired(name, Goal.ABSENT, timeouts=Timeouts(stop=0)))
        lines = log.read_text(encoding="utf-8").splitlines()
        assert (lines[:5], lines[-1]) == (["before", "a", "b", "c", "d"], "e")
        assert (log.stat().st_uid, log.stat().st_gid) == (os.geteuid(), os.getegid())

    def test_another_spelling_of_the_bundle(
        self, engine: Containers, name: str, definition: Definition, tmp_path: pathlib.Path
    ) -> None:
        """The container stays as it is, and when it is created again, it keeps the bundle."""
        (tmp_path / "link").symlink_to("bundle")
        at_once = Timeouts(stop=0)
        engine.converge(Desired(name, Goal.STARTED, definition, timeouts=at_once))
        other = Desired(f"{name}-other", Goal.STARTED, definition)
        for spelling in ("bundle/", "link", "state/../bundle"):
            again = Desired(name, Goal.STARTED, definition._replace(bundle=f"{tmp_path}/{spelling}"), timeouts=at_once)
            assert engine.converge(again).actions == ()
            anew = again._replace(recreate=Recreate.ALWAYS)
            assert Action.CREATE in engine.converge(anew).actions
            with pytest.raises(Conflict, match=f"in use by the container {name}"):
                engine.converge(other)

    def test_check_mode_touches_nothing(self, name: str, definition: Definition, tmp_path: pathlib.Path) -> None:
        checking = Containers(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
        before = _tree(tmp_path)
        outcome = checking.converge(Desired(name, Goal.STARTED, definition), check=True)
        assert (outcome.actions, outcome.plan.result) == ((Action.CREATE, Action.START), Status.RUNNING)
        assert outcome.after.status is Status.ABSENT
        assert _tree(tmp_path) == before

    @pytest.mark.pure
    @pytest.mark.parametrize("environment", [{"A=B": "c"}, {"A": "b\0c"}], ids=["equals sign", "null byte"])
    def test_an_environment_that_no_program_can_have(
        self, engine: Containers, name: str, definition: Definition, environment: dict[str, str]
    ) -> None:
        """It comes from a playbook: an error of the engine, not a traceback of Python."""
        impossible = Definition(**{**definition._asdict(), "conmon_env": environment})
        with pytest.raises(LongshoreError):
            engine.converge(Desired(name, Goal.STARTED, impossible))
