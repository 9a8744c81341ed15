# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A runtime that is killed late, when what it has started waits already: real conmon and runc, and a script around runc."""

from __future__ import annotations

import os
import pathlib
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import DeadlineExceeded, ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._conmon import conmon_launch, lost_runtime
from ansible_collections.longshore.oci.plugins.module_utils._exec import run
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._exec.request import Limits
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    CgroupManager,
    Definition,
    Desired,
    Goal,
    Status,
    Timeouts,
)
from ansible_collections.longshore.oci.tests.unit import bundle, programs

_DONE, _LATE = 'runc "$@"', 'runc "$@"; kill -KILL $$'
_SECONDS = 20.0  # that the task has; it ends much earlier


class Place:
    """A container whose runtime is a script that does something at one verb."""

    def __init__(self, directory: pathlib.Path, parent: str) -> None:
        self.directory, self.name = directory, os.path.basename(parent)
        (directory / "bundle").mkdir()
        (directory / "bin").mkdir()
        self.engine = Containers(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        path = bundle.make(directory / "bundle", "sleep", "1000")
        self.definition = Definition(
            path, runtime=f"{directory}/bin/runc", cgroup_manager=CgroupManager.CGROUPFS, cgroup_parent=parent
        )
        self.at("none", _DONE)

    def at(self, verb: str, text: str) -> None:
        programs.script(self.directory / "bin/runc", f'case " $* " in *" {verb} "*) {text};; *) exec runc "$@";; esac')

    def converge(self, goal: Goal, seconds: float = _SECONDS) -> Status:
        desired = Desired(self.name, goal, self.definition, timeouts=Timeouts(create=seconds, stop=0))
        return self.engine.converge(desired).after.status

    def left(self) -> list[str]:
        paths = self.engine.store.paths(self.name)
        found = [f"process {pid}" for pid in programs.with_word(paths.pidfile)]
        return found + [path for path in (paths.run, paths.state, f"{self.directory}/run/locks/{self.name}") if os.path.exists(path)]  # fmt: skip


@pytest.fixture
def place(tmp_path: pathlib.Path, scratch_cgroup: str) -> t.Iterator[Place]:
    made = Place(tmp_path, scratch_cgroup)
    yield made
    made.at("none", _DONE)
    made.converge(Goal.ABSENT)
    assert made.left() == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in less time."""
    monkeypatch.setattr(conmon_launch, "_PROMPT", 0.3)
    monkeypatch.setattr(lost_runtime, "_GRACE", 0.5)


def test_killed_in_a_create(place: Place) -> None:
    place.at("create", _LATE)
    began = time.monotonic()
    with pytest.raises(ProgramFailed, match=f"Cannot create the container {place.name}: .*was killed .*memory"):
        place.converge(Goal.STARTED)
    assert time.monotonic() - began < _SECONDS / 2
    assert place.left() == []
    assert cgroup_removal.members(place.definition.cgroup_parent) == []
    place.at("none", _DONE)
    assert place.converge(Goal.STARTED) is Status.RUNNING


def test_killed_while_a_hook_waits(place: Place, quick: None) -> None:
    """The hook is the runtime's child, and holds what conmon reads."""
    place.at("create", "(exec sleep 60) & kill -KILL $$")
    with pytest.raises(ProgramFailed, match="was killed"):
        place.converge(Goal.STARTED)
    assert place.left() == []


@pytest.mark.parametrize("start", [run.run, run.start])
def test_killed_in_an_exec(place: Place, quick: None, start: t.Callable[..., t.Any]) -> None:
    place.converge(Goal.STARTED)
    place.at("exec", _LATE)
    store, began = place.engine.store, time.monotonic()
    with pytest.raises(ProgramFailed, match=r"Cannot run sleep in the container .*was killed"):
        start(store, place.name, Command(("sleep", "1000")), limits=Limits(create=_SECONDS, stop=0))
    assert time.monotonic() - began < _SECONDS / 2
    assert not os.path.exists(store.paths(place.name).exec)
    record = t.cast(t.Any, store.load(place.name))
    assert cgroup_removal.members(record.cgroup_path) == [record.init]
    place.at("none", _DONE)
    assert run.run(store, place.name, Command(("echo", "next"))).stdout == b"next\n"


@pytest.mark.parametrize("text", [f"sleep 2; {_DONE}", f"{_DONE}; rc=$?; sleep 2; exit $rc"])
def test_a_slow_runtime_is_waited_for(place: Place, quick: None, text: str) -> None:
    place.at("create", text)
    assert place.converge(Goal.STARTED) is Status.RUNNING


def test_a_runtime_that_hangs_has_the_time_of_a_create(place: Place, quick: None) -> None:
    place.at("create", "kill -STOP $$")
    with pytest.raises(DeadlineExceeded, match="did not report in time"):
        place.converge(Goal.STARTED, seconds=2)
    assert place.left() == []
