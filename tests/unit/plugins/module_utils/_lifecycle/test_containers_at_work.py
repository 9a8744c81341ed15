# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task that has nothing to do makes of others that are at work on its container, or were killed at that."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import inotify, pidfd, process
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Action,
    Definition,
    Desired,
    Goal,
    Record,
    Status,
    Timeouts,
)
from ansible_collections.longshore.oci.tests.unit import bundle, programs

_TASK = """
import os, sys
from ansible_collections.longshore.oci.plugins.module_utils._base import program
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Desired, Goal
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
state, run, name, goal, slow, tied = sys.argv[1:]
os.environ["HOME"] = slow  # the one variable that a program of ours is given as it is
if tied == "no":
    program.tie = lambda leash, owner: None  # as in the instant before it is done
Containers(state_dir=state, run_dir=run).converge(Desired(name, Goal(goal)))
"""


class Place:
    """A container whose runtime takes its time at one verb, where a task wants it to."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory, self.name = directory, f"at-work-{os.getpid()}-{os.urandom(3).hex()}"
        (directory / "bundle").mkdir()
        runtime = programs.script(
            directory / "runtime",
            f"""
            for word; do
                if test "$HOME" = "/slow/$word"; then
                    echo $$ >{directory}/pid.new
                    mv {directory}/pid.new {directory}/pid
                    sleep 0.7
                fi
            done
            exec runc "$@"
            """,
        )
        self.definition = Definition(bundle.make(directory / "bundle", "sleep", "1000"), runtime=runtime)
        self.engine = Containers(state_dir=f"{directory}/state", run_dir=f"{directory}/run")

    def converge(self, goal: Goal, *, check: bool = False, seconds: float = 30) -> t.Any:
        desired = Desired(self.name, goal, self.definition, timeouts=Timeouts(stop=0, create=seconds))
        return self.engine.converge(desired, check=check)

    def killed(self, goal: Goal, verb: str, *, tied: bool = True) -> process.ProcessId | None:
        """Kill a task when its runtime is at work; returns that."""
        store = self.engine.store
        words = [store.state_dir, store.run_dir, self.name, goal.value, f"/slow/{verb}", "yes" if tied else "no"]
        task = subprocess.Popen([sys.executable, "-c", _TASK, *words], env=programs.python_environment())
        pid = self.directory / "pid"
        assert inotify.wait_until(pid.exists, Deadline(30), path=str(self.directory), mask=inotify.IN_MOVED_TO)
        runtime = process.identify(int(pid.read_text(encoding="ascii")))
        task.kill()
        task.wait()
        return runtime

    def locks(self) -> list[str]:
        return os.listdir(f"{self.engine.store.run_dir}/locks")


@pytest.fixture
def place(tmp_path: pathlib.Path) -> t.Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.converge(Goal.ABSENT)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("before", "goal", "verb", "then", "end"),
    [
        (Goal.STARTED, Goal.PAUSED, "pause", Goal.STARTED, Status.RUNNING),
        (Goal.PRESENT, Goal.STARTED, "start", Goal.PRESENT, Status.CREATED),
        (Goal.PRESENT, Goal.STARTED, "start", Goal.STOPPED, Status.CREATED),
        (Goal.PAUSED, Goal.STARTED, "resume", Goal.PAUSED, Status.PAUSED),
    ],
)
def test_a_runtime_of_a_killed_task_changes_nothing_afterwards(
    place: Place, before: Goal, goal: Goal, verb: str, then: Goal, end: Status, *, tied: bool
) -> None:
    place.converge(before)
    runtime = place.killed(goal, verb, tied=tied)
    done = place.converge(then)
    with pidfd.PidFd(runtime) as handle:
        assert handle.wait(Deadline(30))
    assert (done.after.status, place.engine.observe(place.name).status) == (end, end)
    assert place.locks() == []


def test_one_that_is_at_work_is_waited_for(place: Place) -> None:
    """And what it has done meanwhile is seen."""
    place.converge(Goal.STARTED)
    lock, found = place.engine.store.locked(place.name, Deadline(0)), []
    with lock:
        thread = threading.Thread(target=lambda: found.append(place.converge(Goal.STARTED)))
        thread.start()
        thread.join(0.2)
        assert found == []
        with pytest.raises(Conflict, match=rf"the container {place.name}.*: process {os.getpid()} "):
            place.converge(Goal.STARTED, seconds=0.05)
        record = t.cast(Record, place.engine.observe(place.name).record)
        subprocess.run(["runc", "--root", record.runtime_root, "pause", place.name], check=True)
    thread.join(30)
    assert [done.actions for done in found] == [(Action.RESUME,)]
    assert place.locks() == []


def test_check_mode_waits_for_nobody_and_says_so(place: Place) -> None:
    place.converge(Goal.STARTED)
    with place.engine.store.locked(place.name, Deadline(0)):
        (warning,) = place.converge(Goal.STARTED, check=True).warnings
    assert f"process {os.getpid()} " in warning
    assert f"Other tasks work on the container {place.name} now" in warning


def test_the_lock_of_a_killed_task_is_cleared_away(place: Place) -> None:
    """Also where nothing is to be done. Check mode leaves it, and says nothing of a task that is gone."""
    place.converge(Goal.PRESENT)
    place.killed(Goal.STARTED, "start")
    place.converge(Goal.ABSENT)
    assert place.locks() == []
    open(place.engine.store.paths(place.name).lock, "w", encoding="ascii").close()
    assert place.converge(Goal.ABSENT, check=True).warnings == ()
    assert place.locks() == [place.name]
    assert place.converge(Goal.ABSENT).actions == ()
    assert place.locks() == []
