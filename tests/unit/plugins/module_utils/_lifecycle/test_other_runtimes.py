# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole life of containers whose runtime is neither crun nor runc, or is one of them under another name."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict, LongshoreError, WrongState
from ansible_collections.longshore.oci.plugins.module_utils._base.process import is_alive
from ansible_collections.longshore.oci.plugins.module_utils._exec import run
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._module.container_state import describe
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Action,
    CgroupManager,
    Checkpoint,
    Definition,
    Desired,
    Goal,
    Record,
    Status,
    Timeouts,
)
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.tests.unit import bundle, runtimes

NOW = Timeouts(stop=0)


class Host:
    """One container of this host, whose runtime a test chooses."""

    def __init__(self, directory: pathlib.Path, parent: str) -> None:
        self.directory, self.name = directory, os.path.basename(parent)
        self.engine = Containers(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        for name in ("bundle", "bin"):
            (directory / name).mkdir()
        self._bundle = bundle.make(directory / "bundle", "sleep", "60")
        self._parent = parent
        self.runtime = ""

    @property
    def definition(self) -> Definition:
        return Definition(
            bundle=self._bundle, runtime=self.runtime, cgroup_manager=CgroupManager.CGROUPFS, cgroup_parent=self._parent
        )

    def bring(self, goal: Goal, *, check: bool = False, defined: bool = True) -> tuple[tuple[Action, ...], Status]:
        wanted = self.definition if defined and goal is not Goal.ABSENT else None
        outcome = self.engine.converge(Desired(self.name, goal, wanted, timeouts=NOW), check=check)
        return outcome.actions, outcome.after.status

    @property
    def status(self) -> Status:
        return self.engine.observe(self.name).status

    @property
    def record(self) -> Record:
        return t.cast(Record, self.engine.store.load(self.name))

    def tree(self) -> list[str]:
        return sorted(os.path.join(top, name) for top, _dirs, files in os.walk(self.directory) for name in files)


@pytest.fixture
def host(tmp_path: pathlib.Path, scratch_cgroup: str) -> t.Iterator[Host]:
    made = Host(tmp_path, scratch_cgroup)
    yield made
    made.engine.converge(Desired(made.name, Goal.ABSENT, timeouts=NOW))
    cgroup_removal.remove(scratch_cgroup)


def _make(host: Host, kind: str) -> None:
    makers: dict[str, t.Callable[[object], str]] = {
        "youki": runtimes.other, "runsc": lambda directory: runtimes.other(directory, "runsc"),
        "wrapper": runtimes.wrapper, "renamed": runtimes.renamed,
    }  # fmt: skip
    host.runtime = makers[kind](host.directory / "bin")


@pytest.mark.parametrize(
    ("kind", "name"), [("youki", "youki"), ("runsc", "runsc"), ("wrapper", "runc"), ("renamed", "runc")]
)
class TestLife:
    def test_all_states(self, host: Host, kind: str, name: str) -> None:
        """Each state is told right, is reached, foretold by check mode, and left alone by the next task."""
        _make(host, kind)
        create, start, stop, remove = Action.CREATE, Action.START, Action.STOP, Action.REMOVE
        steps: list[tuple[Goal, tuple[Action, ...], Status]] = [
            (Goal.PRESENT, (create,), Status.CREATED),
            (Goal.STARTED, (start,), Status.RUNNING),
            (Goal.PAUSED, (Action.PAUSE,), Status.PAUSED),
            (Goal.STARTED, (Action.RESUME,), Status.RUNNING),
            (Goal.STOPPED, (stop,), Status.STOPPED),
            (Goal.STARTED, (remove, create, start), Status.RUNNING),
            (Goal.ABSENT, (stop, remove), Status.ABSENT),
            (Goal.PAUSED, (create, start, Action.PAUSE), Status.PAUSED),
            (Goal.STOPPED, (stop,), Status.STOPPED),
            (Goal.ABSENT, (remove,), Status.ABSENT),
        ]
        for goal, actions, status in steps:
            before, was = host.tree(), host.status
            assert host.bring(goal, check=True) == (actions, was)
            assert [path for path in host.tree() if not path.endswith("programs.json")] == [
                path for path in before if not path.endswith("programs.json")
            ]
            assert host.bring(goal) == (actions, status)
            assert host.status is status
            for defined in (True, False):
                if defined or status is not Status.ABSENT:
                    assert host.bring(goal, defined=defined) == ((), status)
            if status is not Status.ABSENT:
                assert host.record.runtime.name == name
                assert host.record.runtime_root == f"{host.directory}/run/{name}"
        assert [path for path in host.tree() if host.name in path] == []

    def test_a_restart(self, host: Host, kind: str, name: str) -> None:
        _make(host, kind)
        host.bring(Goal.STARTED)
        first = host.record.init
        actions = (Action.STOP, Action.REMOVE, Action.CREATE, Action.START)
        assert host.bring(Goal.RESTARTED) == (actions, Status.RUNNING)
        assert not is_alive(first)

    def test_a_command(self, host: Host, kind: str, name: str) -> None:
        _make(host, kind)
        host.bring(Goal.PRESENT)
        with pytest.raises(WrongState, match="has not been started, so no command can run"):
            run.run(host.engine.store, host.name, Command(("echo", "hello")))
        host.bring(Goal.STARTED)
        done = run.run(host.engine.store, host.name, Command(("echo", "hello")))
        assert (done.rc, done.stdout) == (0, b"hello\n")
        host.bring(Goal.PAUSED)
        with pytest.raises(WrongState, match="is paused"):
            run.run(host.engine.store, host.name, Command(("echo", "hello")))

    def test_without_a_record(self, host: Host, kind: str, name: str) -> None:
        """What a lost state directory leaves is found by the runtime's own directory, and the runtime deletes it."""
        _make(host, kind)
        host.bring(Goal.STARTED)
        init = host.record.init
        shutil.rmtree(host.engine.store.paths(host.name).state)
        assert host.engine.observe(host.name).leftovers
        assert host.bring(Goal.ABSENT) == ((Action.REMOVE,), Status.ABSENT)
        assert not is_alive(init)
        assert [path for path in host.tree() if host.name in path] == []
        assert host.bring(Goal.ABSENT) == ((), Status.ABSENT)


class TestKnownByAnotherName:
    @pytest.mark.parametrize("kind", ["wrapper", "renamed"])
    def test_nothing_is_started_where_nothing_is_to_be_done(
        self, host: Host, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _make(host, kind)
        host.bring(Goal.STARTED)
        monkeypatch.setattr(subprocess, "Popen", None)
        assert host.bring(Goal.STARTED) == ((), Status.RUNNING)


BROKEN = [
    ("hang", r"did not tell its state in time"),
    ("garbage", r"is no JSON"),
    ("huge", r"more than"),
    ("endless", r"did not tell its state in time|more than"),
    ("other", r"is of another container"),
    ("fail", r"the state file is damaged"),
    ("dancing", r"'dancing'"),
]


class TestBrokenState:
    """The runtime does its work, and does not say how the container is: then nothing is guessed."""

    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ansible_collections.longshore.oci.plugins.module_utils._runtime import state_command

        monkeypatch.setattr(state_command, "SECONDS", 1.0)

    @pytest.mark.parametrize(("how", "sentence"), BROKEN)
    @pytest.mark.parametrize("status", [Goal.PRESENT, Goal.STARTED, Goal.PAUSED])
    def test_its_state_is_unknown(self, host: Host, how: str, sentence: str, status: Goal) -> None:
        host.runtime = runtimes.other(host.directory / "bin")
        host.bring(status)
        init = host.record.init
        runtimes.answer(host.runtime, state=how)
        seen = host.engine.observe(host.name)
        assert seen.status is Status.UNKNOWN
        assert describe(seen)["status"] == "unknown"
        assert describe(seen)["pid"] == init.pid if init else None
        for goal in (Goal.PRESENT, Goal.STARTED, Goal.PAUSED, Goal.STOPPED, Goal.RESTARTED):
            with pytest.raises(LongshoreError, match=sentence) as caught:
                host.bring(goal)
            assert "state=absent removes it" in caught.value.hint
        with pytest.raises(LongshoreError, match=sentence):
            run.run(host.engine.store, host.name, Command(("true",)))
        assert is_alive(init)
        assert host.bring(Goal.ABSENT, check=True)[0] == (Action.STOP, Action.REMOVE)
        assert host.bring(Goal.ABSENT) == ((Action.STOP, Action.REMOVE), Status.ABSENT)
        assert not is_alive(init)

    def test_a_restore_that_conmon_completed(self, host: Host) -> None:
        """Its task was killed, so the record has no process yet. The reason of the runtime is said all the same."""
        host.runtime = runtimes.other(host.directory / "bin")
        host.bring(Goal.STARTED)
        record, gone = host.record, Checkpoint(f"{host.directory}/checkpoint")
        host.engine.store.save(record._replace(phase=Phase.RESTORING, init=None, monitor=None, checkpoint=gone))
        runtimes.answer(host.runtime, state="dancing")
        seen = host.engine.observe(host.name)
        assert (seen.status, seen.unfinished) == (Status.UNKNOWN, True)
        with pytest.raises(LongshoreError, match="'dancing'"):
            host.bring(Goal.STARTED)
        host.engine.store.save(record)

    def test_one_that_is_gone(self, host: Host) -> None:
        host.runtime = runtimes.other(host.directory / "bin")
        host.bring(Goal.STARTED)
        os.unlink(host.runtime)
        with pytest.raises(LongshoreError, match=r"Cannot run .*youki to tell its state"):
            host.bring(Goal.STARTED)
        assert host.bring(Goal.ABSENT)[1] is Status.ABSENT

    def test_the_container_ends_while_it_is_asked(self, host: Host) -> None:
        """It has ended for the runtime, and its first process lives on: what is left is ended, too."""
        host.runtime = runtimes.other(host.directory / "bin")
        host.bring(Goal.STARTED)
        runtimes.answer(host.runtime, state="stopped")
        seen = host.engine.observe(host.name)
        assert (seen.status, seen.leftovers) == (Status.STOPPED, True)
        runtimes.answer(host.runtime, state="youki")
        assert host.bring(Goal.STOPPED) == ((Action.STOP,), Status.STOPPED)


class TestSomebodyElses:
    def test_a_container_of_that_name(self, host: Host) -> None:
        """Made by hand with the same root: it is not ours, and nothing of it is touched."""
        host.runtime = runtimes.other(host.directory / "bin")
        root = host.directory / "run" / "youki"
        (host.directory / "hand").mkdir()
        made = bundle.make(host.directory / "hand", "sleep", "60", cgroup=f"{host.definition.cgroup_parent}/hand")
        words = ["create", "--bundle", made, "--pid-file", f"{host.directory}/pid", host.name]
        quiet: dict[str, t.Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        subprocess.run([host.runtime, "--root", root, *words], check=True, **quiet)
        try:
            with pytest.raises(Conflict, match=r"youki already has a container .* which Longshore has not created"):
                host.bring(Goal.STARTED)
        finally:
            subprocess.run([host.runtime, "--root", root, "delete", "--force", host.name], check=True, **quiet)
