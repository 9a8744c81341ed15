# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that is killed at any moment: the next one brings the container where it should be, and nothing leaks.

The moments are spread evenly over the time that the step takes, from its first look to its last write, and each is
followed by each of the three ends that a next task may have. Real conmon and runtime.
"""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import kill_and_wait
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._container import create
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._state import store
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Definition,
    Desired,
    Goal,
    Recreate,
    Status,
    Timeouts,
)
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.tests.unit import bundle, killing, programs

MOMENTS = 5
_QUICK = Timeouts(stop=0.02)
_TASK = """
import sys
from ansible_collections.longshore.oci.plugins.module_utils._state.model import *
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
state, run, name, bundle, goal = sys.argv[1:]
engine = Containers(state_dir=state, run_dir=run)
print("ready", flush=True)
desired = Desired(name, Goal(goal), Definition(bundle), recreate=Recreate.ALWAYS, timeouts=Timeouts(stop=0.02))
engine.converge(desired)
"""


class Place:
    """Directories, a bundle and a container name of its own."""

    def __init__(self, directory: t.Any) -> None:
        self.name = f"killed-{os.getpid()}-{os.urandom(3).hex()}"
        self.state, self.run = f"{directory}/state", f"{directory}/run"
        os.mkdir(f"{directory}/bundle")
        self.bundle = bundle.make(f"{directory}/bundle", "sleep", "1000")

    def converge(self, goal: Goal) -> Status:
        desired = Desired(self.name, goal, Definition(self.bundle), recreate=Recreate.CHANGED, timeouts=_QUICK)
        return Containers(state_dir=self.state, run_dir=self.run).converge(desired).after.status

    def task(self, goal: Goal) -> subprocess.Popen[bytes]:
        """The same in a process of its own, returned when it is about to begin; it always makes the container anew."""
        words = (self.state, self.run, self.name, self.bundle, goal.value)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.Popen([sys.executable, "-c", _TASK, *words], stdout=subprocess.PIPE, env=environment)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        return child

    def leaks(self) -> list[str]:
        """Everything that is still there of a container that has been removed."""
        found = [f"process {pid}" for pid in programs.with_word(f"{self.run}/containers/{self.name}/pid")]
        found += cgroup.directories(
            f"/longshore/{self.name}@{store.Store(state_dir=self.state, run_dir=self.run).realm}"
        )
        places = (self.run + "/containers/*", self.run + "/runc/*", self.run + "/crun/*", self.run + "/locks/*")
        for pattern in (*places, self.state + "/containers/*", self.state + "/bundles/*"):
            found += glob.glob(pattern)
        return found


@pytest.fixture
def place(tmp_path: t.Any) -> t.Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.converge(Goal.ABSENT)
    left = map(identify, programs.with_word(f"{made.run}/containers/{made.name}/pid"))
    kill_and_wait(filter(None, left), Deadline(5))


def duration(place: Place, goal: Goal) -> float:
    """How long such a task takes when it is left alone, from where it begins."""
    child = place.task(goal)
    began = time.monotonic()
    assert child.wait() == 0
    return time.monotonic() - began


@pytest.mark.parametrize("goal", [Goal.STARTED, Goal.PAUSED, Goal.STOPPED, Goal.ABSENT])
@pytest.mark.parametrize("existed", [False, True])
def test_killed_at_any_moment(place: Place, goal: Goal, existed: bool) -> None:
    place.converge(Goal.STARTED)  # versions are asked once, on the first use of a host
    length = duration(place, goal)
    ends = {
        Goal.STARTED: {Status.RUNNING},
        Goal.STOPPED: {Status.STOPPED, Status.CREATED},
        Goal.ABSENT: {Status.ABSENT},
    }
    for moment in range(MOMENTS):
        place.converge(Goal.STARTED if existed else Goal.ABSENT)
        child = place.task(goal)
        time.sleep(length * moment / MOMENTS)  # not a wait for something: the moment is what is tried
        child.kill()
        child.wait()
        end = list(ends)[moment % len(ends)]
        assert place.converge(end) in ends[end], (goal, existed, moment)
        assert place.converge(Goal.ABSENT) is Status.ABSENT
        assert place.leaks() == [], (goal, existed, moment)


@pytest.mark.parametrize("failing", [False, True])
def test_what_was_kept_outlives_a_killed_change(place: Place, failing: bool) -> None:
    """A change that is not killed leaves the log and the kept checkpoints of the container as well."""
    place.converge(Goal.STARTED)
    state = f"{place.state}/containers/{place.name}"
    os.makedirs(f"{state}/checkpoints/1")
    kept = [f"{state}/checkpoints/1/longshore.json", f"{state}/container.log"]
    for path in kept:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write("{}\n")

    def change() -> None:
        create.__dict__["_lay_out"] = lambda *_arguments: os.kill(os.getpid(), signal.SIGKILL)
        desired = Desired(place.name, Goal.STARTED, Definition(place.bundle), recreate=Recreate.ALWAYS, timeouts=_QUICK)
        Containers(state_dir=place.state, run_dir=place.run).converge(desired)

    assert killing.kill(change, at=sys.maxsize).was_killed
    record = store.Store(state_dir=place.state, run_dir=place.run).load(place.name)
    assert record is not None
    assert record.phase is Phase.CREATING
    if failing:
        os.rename(f"{place.bundle}/rootfs", f"{place.bundle}/gone")
        with pytest.raises(LongshoreError):
            place.converge(Goal.STARTED)
        os.rename(f"{place.bundle}/gone", f"{place.bundle}/rootfs")
    assert place.converge(Goal.STARTED) is Status.RUNNING
    assert os.path.exists(kept[0])
    with open(kept[1], encoding="utf-8") as stream:
        assert failing or stream.readline() == "{}\n"
