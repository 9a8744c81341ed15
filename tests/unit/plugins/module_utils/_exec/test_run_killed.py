# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that runs a command and is killed at any moment: the next one for the container clears all of it away.

The moments are spread evenly over the time from its first look to the first words of the command, and beyond.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._exec import detached, run, session_store
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._exec.request import Limits
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition, Desired, Goal, Timeouts
from ansible_collections.longshore.oci.tests.unit import bundle, programs

MOMENTS = 12
_TASK = """
import sys
from ansible_collections.longshore.oci.plugins.module_utils._exec import run
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
state_dir, run_dir, name, kind = sys.argv[1:]
store = Store(state_dir=state_dir, run_dir=run_dir)
command = Command(("/bin/sh", "-c", "sleep 1000 & exec sleep 1000"))
print("ready", flush=True)
(run.run if kind == "waits" else run.start)(store, name, command)
print("done", flush=True)
"""


class Place:
    def __init__(self, directory: t.Any) -> None:
        self.name = f"execkilled-{os.getpid()}-{os.urandom(3).hex()}"
        self.state, self.run = f"{directory}/state", f"{directory}/run"
        self.engine = Containers(state_dir=self.state, run_dir=self.run)
        self.paths = self.engine.store.paths(self.name)
        os.mkdir(f"{directory}/bundle")
        self.bundle = bundle.make(f"{directory}/bundle", "sleep", "1000")

    def converge(self, goal: Goal) -> None:
        definition = Definition(self.bundle, runtime="runc")
        self.engine.converge(Desired(self.name, goal, definition, timeouts=Timeouts(stop=0)))

    def task(self, kind: str) -> subprocess.Popen[bytes]:
        """Returned when it is about to begin."""
        words = (self.state, self.run, self.name, kind)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.Popen([sys.executable, "-c", _TASK, *words], stdout=subprocess.PIPE, env=environment)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        return child

    def length(self) -> float:
        """From where a task begins to where its command runs."""
        child = self.task("starts")
        began = time.monotonic()
        assert child.wait() == 0
        length = time.monotonic() - began
        for paths in session_store.all_of(self.paths):
            detached.forget(self.engine.store, self.name, paths.id, limits=Limits(stop=0))
        return length

    def left(self) -> list[str]:
        record = self.engine.store.load(self.name)
        init = record.init if record else None
        found = [f"conmon {pid}" for pid in programs.with_word(self.paths.exec)]
        members = cgroup_removal.members(f"/longshore/{self.name}@{self.engine.store.realm}")
        known = {init, record.monitor if record else None}
        found += [f"process {process.pid}" for process in members if process not in known]
        for place in (self.paths.exec, f"{self.paths.persist}/exec"):
            found += [f"{place}/{name}" for name in os.listdir(place)] if os.path.isdir(place) else []
        return found

    def settled(self) -> list[str]:
        """conmon ends a moment after its last report."""
        deadline = Deadline(10)
        while self.left() and deadline.remaining():
            time.sleep(0.01)
        return self.left()


@pytest.fixture
def place(tmp_path: t.Any) -> t.Iterator[Place]:
    made = Place(tmp_path)
    made.converge(Goal.STARTED)
    yield made
    made.converge(Goal.ABSENT)
    assert made.left() == []


@pytest.mark.parametrize("kind", ["waits", "starts"])
@pytest.mark.parametrize("next_task", ["exec", "absent"])
def test_killed_at_any_moment(place: Place, kind: str, next_task: str) -> None:
    length = place.length()
    for moment in range(MOMENTS):
        child = place.task(kind)
        time.sleep(length * 1.3 * moment / MOMENTS)  # not a wait for something: the moment is what is tried
        child.kill()
        child.wait()
        if next_task == "exec":
            result = run.run(place.engine.store, place.name, Command(("/bin/echo", "next")), limits=Limits(stop=0.5))
            assert (result.rc, result.stdout) == (0, b"next\n")
            # A detached one that was started before its task was killed is what was asked for.
            for paths in session_store.all_of(place.paths):
                assert kind == "starts"
                assert detached.forget(place.engine.store, place.name, paths.id, limits=Limits(stop=0))
        else:
            place.converge(Goal.ABSENT)
        assert place.settled() == [], (kind, moment)
        place.converge(Goal.STARTED)
