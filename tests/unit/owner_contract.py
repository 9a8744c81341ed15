# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of an owner: create, start, stop, update and delete, each whole, with a step that fails, and killed at a step.

It is the same for conmon and for systemd, with the real programs. Run by test_owner_conmon.py here, and by the target
oci_container (owner) on hosts with systemd, with a JSON object of the fields of Asked as the argument. Prints what went wrong.
"""

from __future__ import annotations

import glob
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import typing as t

if __name__ == "__main__":
    sys.path.insert(0, json.loads(sys.argv[1])["collections"])
    sys.dont_write_bytecode = True

from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Definition,
    Desired,
    Goal,
    Outcome,
    Record,
    Status,
    Timeouts,
)
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.tests.unit import killing

ENDS = {
    Goal.STARTED: {Status.RUNNING}, Goal.STOPPED: {Status.STOPPED, Status.CREATED}, Goal.ABSENT: {Status.ABSENT},
    Goal.PRESENT: {*Status} - {Status.ABSENT},
}  # fmt: skip


class Asked(t.NamedTuple):
    """``bundles`` are two with different arguments, whose program ends when it gets SIGTERM or is killed. ``most`` is how often
    a task fails or is killed in one of its operations, 0 for each of its steps; which ones is chosen by ``seed``."""

    state_dir: str
    run_dir: str
    name: str
    runtime: str
    bundles: t.Sequence[str]
    service: bool
    most: int
    seed: int
    collections: str = ""


def chosen(asked: Asked, steps: int, number: int) -> list[int]:
    """Return at which of so many steps an operation gets the signal, or fails."""
    return killing.spread(steps, asked.most or steps, seed=asked.seed + number)


class Contract:
    def __init__(self, asked: Asked) -> None:
        self.asked, self.name = asked, asked.name
        self.containers = Containers(state_dir=asked.state_dir, run_dir=asked.run_dir)
        self.store = self.containers.store
        self.paths = self.store.paths(self.name)
        self.operations: dict[str, tuple[t.Callable[[], t.Any], t.Callable[[], t.Any]]] = {
            "create": (lambda: self.to(Goal.ABSENT), lambda: self.to(Goal.PRESENT)),
            "replace": (self.stopped, lambda: self.to(Goal.PRESENT, bundle=1)),
            "start": (self.created, lambda: self.to(Goal.STARTED)),
            "stop": (self.started, lambda: self.to(Goal.STOPPED)),
            "update": (self.started, lambda: self.to(Goal.PRESENT, update=33)),
            "delete": (self.stopped, lambda: self.to(Goal.ABSENT)),
        }

    def to(self, goal: Goal, *, bundle: int = 0, stop: float | None = 1, update: float | None = None) -> Outcome:
        settings = {"runtime": self.asked.runtime, "service": self.asked.service}
        wanted = None if goal is Goal.ABSENT else Definition(self.asked.bundles[bundle], **settings)  # type: ignore[arg-type]
        timeouts = Timeouts(stop=stop if update is None else update)
        return Containers(state_dir=self.asked.state_dir, run_dir=self.asked.run_dir).converge(
            Desired(self.name, goal, wanted, timeouts=timeouts)
        )

    def created(self) -> None:
        self.to(Goal.ABSENT)
        self.to(Goal.PRESENT)

    def started(self) -> None:
        self.to(Goal.ABSENT)
        self.to(Goal.STARTED)

    def stopped(self) -> None:
        self.started()
        self.to(Goal.STOPPED)

    def record(self) -> Record:
        record = self.store.load(self.name)
        assert record is not None, "there is no record"
        return record

    def consistent(self) -> None:
        """Record, config and claim are of one bundle: of the previous one, or of the new one."""
        record = self.store.load(self.name)
        own = record.definition.bundle if record else None
        for bundle in self.asked.bundles:
            holder = self.store.bundle_holder(bundle)
            assert holder == (record if bundle == own else None), f"{bundle} is claimed by {holder}"
        with open(f"{own}/config.json", encoding="utf-8") as stream:
            args = json.load(stream)["process"]["args"]
        saved = self.store.load_config(self.name) or {}
        assert saved.get("process", {}).get("args") == args, f"the config is not of {own}"

    def converges(self, goal: Goal, *, bundle: int = 0) -> None:
        after = self.to(goal, bundle=bundle).after.status
        assert after in ENDS[goal], f"it is {after.value}, not {goal.value}"
        again = self.to(goal, bundle=bundle).actions
        assert again == (), f"the next task does {again}"

    def nothing_left(self) -> None:
        self.to(Goal.ABSENT)
        left = [self.paths.state, self.paths.run, self.paths.lock, names.service_path(self.name, self.store.realm)]
        left = [path for path in left if os.path.lexists(path)]
        left += glob.glob(f"{self.store.state_dir}/bundles/*") + glob.glob(f"{self.store.run_dir}/*/{self.name}")
        left += [path for path in (f"/longshore/{self.name}@{self.store.realm}",) if cgroup.directories(path)]
        left += self._processes() + self._units()
        assert left == [], f"left: {left}"

    def _processes(self) -> list[str]:
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as stream:
                    words = stream.read()
            except OSError:
                continue
            found += [path] if f"{self.paths.run}/".encode() in words else []
        return found

    def _units(self) -> list[str]:
        if not os.path.isdir("/run/systemd/system"):
            return []
        user = [] if os.geteuid() == 0 else ["--user"]
        argv = ["systemctl", *user, "list-units", "--all", "--plain", "--no-legend", f"longshore*{self.name}*"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.splitlines()

    def whole(self) -> None:
        """All operations, one after the other."""
        self.to(Goal.ABSENT)
        assert self.to(Goal.PRESENT).after.status is Status.CREATED
        assert self.to(Goal.PRESENT).actions == ()
        self.consistent()
        started = self.to(Goal.STARTED)
        assert (started.actions, started.after.status) == (("start",), Status.RUNNING)
        self.converges(Goal.STARTED)
        updated = self.to(Goal.PRESENT, update=33)
        assert (updated.actions, updated.after.existing.stop_timeout) == (("update",), 33)
        assert updated.after.existing.init == started.after.existing.init
        self.to(Goal.PRESENT)
        stopped = self.to(Goal.STOPPED)
        assert (stopped.actions, stopped.after.status) == (("stop",), Status.STOPPED)
        assert stopped.stop is not None
        assert not stopped.stop.killed
        self.converges(Goal.STOPPED)
        assert self.to(Goal.PRESENT, bundle=1).actions == ("remove", "create")
        self.consistent()
        self.nothing_left()

    def saved_while_it_stops(self) -> None:
        """The lock is free meanwhile. A second task changes a setting, and stops as well."""
        self.started()
        os.kill(self.containers.observe(self.name).existing.init.pid, signal.SIGSTOP)  # type: ignore[union-attr]
        child = os.fork()
        if child == 0:
            try:
                self.to(Goal.STOPPED, stop=2)
            except BaseException as exc:
                print(f"the first task: {exc!r}", flush=True)
            finally:
                os._exit(0)
        end = time.monotonic() + 10
        while self.record().phase is not Phase.STOPPING:
            assert time.monotonic() < end, "it does not stop"
            time.sleep(0.02)
        self.to(Goal.PRESENT, update=33)
        os.waitpid(child, 0)
        now = self.record()
        assert (now.phase, now.stop_timeout) == (Phase.STOPPED, 33), f"{now.phase} {now.stop_timeout}"
        assert not self._processes()
        self.nothing_left()

    def struck(self, operation: str, at: int, number: int, then: Goal) -> None:
        """A task fails, or is killed, right before a step; the next one converges, and nothing leaks."""
        begin, task = self.operations[operation]
        begin()
        end = killing.kill(task, at=at, number=number)
        if number == killing.FAILS and end.rc:
            said = end.said.strip().splitlines()[-1]
            assert "module_utils._base.errors." in said, end.said
            if os.path.exists(self.paths.record):
                self.consistent()
        self.converges(then, bundle=operation == "replace")
        self.nothing_left()

    def every_step(self) -> t.Iterator[tuple[str, int, int, Goal]]:
        goals = list(ENDS)
        for operation, (begin, task) in self.operations.items():
            begin()
            steps = len(killing.steps(task))
            for number in (signal.SIGKILL, killing.FAILS):
                for index, at in enumerate(chosen(self.asked, steps, number)):
                    yield operation, at, number, goals[index % len(goals)]

    def check(self) -> list[str]:
        """Return what went wrong."""
        found = []
        for whole in (self.whole, self.saved_while_it_stops):
            found += self._tried(whole.__name__, whole)
        for struck in self.every_step():
            found += self._tried(str(struck), lambda struck=struck: self.struck(*struck))  # type: ignore[misc]
        return found

    def _tried(self, what: str, check: t.Callable[[], None]) -> list[str]:
        try:
            check()
        except Exception as exc:
            self.to(Goal.ABSENT)
            where = [frame for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == __file__][-1]
            return [f"{what} (seed {self.asked.seed}): {type(exc).__name__}: {exc} ({where.lineno}: {where.line})"]
        return []


if __name__ == "__main__":
    for line in Contract(Asked(**json.loads(sys.argv[1]))).check():
        print(line)
