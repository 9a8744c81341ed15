# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Tasks: modules run by their own main(), each in a process of its own, and killed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import random
import select
import signal
import time
import typing as t

from . import processes
from .changes import Changes

# How long a task takes as long as nothing is known of it.
_FIRST_GUESS = 0.45
# Beyond its usual time.
HANG_SECONDS = 10.0
# More time for all on a host that is this busy: load for each processor.
_BUSY_LOAD = 3
_BUSY_SECONDS = 60
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# The task alone; it with its children; it with all that has come of it, conmon and container too; a program of it and not the task.
SCOPES = ("task",) * 5 + ("tree",) + ("all",) * 3 + ("program",) * 2


@dataclasses.dataclass(frozen=True)
class Task:
    """A module with its arguments. ``key`` says in short what it does, and in what state; it is what times are kept by."""

    key: str
    module: str
    params: dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Fault:
    """When and how a task is killed.

    ``fraction``: of its usual time, without the start of Python. Where ``program`` or ``change`` is given, the moment is so many
    milliseconds after it started its n-th program, or changed the n-th file; with ``mount``, after something was mounted in the
    directories of the trial.
    """

    fraction: float
    program: int
    change: int
    milliseconds: float
    signal: int
    scope: str
    wait: bool
    mount: bool = False

    @classmethod
    def draw(cls, rng: random.Random) -> Fault:
        kind = rng.choice(("time", "time", "program", "change"))
        scope = rng.choice(SCOPES)
        return cls(
            fraction=rng.uniform(0, 1.2),
            program=rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 6, 8)) if kind == "program" else 0,
            change=int(math.exp(rng.uniform(0, math.log(rng.choice((20, 20, 400)))))) if kind == "change" else 0,
            milliseconds=rng.choice((0.0, 0.0, 0.0, rng.uniform(0, 3), rng.uniform(0, 25), rng.uniform(0, 200))),
            signal=signal.SIGKILL if scope == "program" else rng.choice(SIGNALS),
            scope=scope,
            wait=rng.random() < 0.7,
        )

    def text(self) -> str:
        when = f"at {self.fraction:.3f} of its time"
        if self.program:
            when = f"{self.milliseconds:.1f} ms after its program {self.program} started"
        if self.change:
            when = f"{self.milliseconds:.1f} ms after its change {self.change} of a file"
        if self.mount:
            when = f"{self.milliseconds:.1f} ms after a mount"
        return f"{signal.Signals(self.signal).name} to {self.scope} {when}" + ("" if self.wait else ", not waited for")


@dataclasses.dataclass
class Ran:
    """A task that was run."""

    task: Task
    status: int | None
    seconds: float
    said: dict[str, t.Any] | None
    errors: str
    hung: str = ""
    killed: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 0 and self.said is not None and not self.said.get("failed")

    @property
    def traceback(self) -> bool:
        return not self.hung and self.said is None

    def message(self) -> str:
        """The sentence of one that failed."""
        if self.said is not None:
            return str(self.said.get("msg", ""))
        return self.errors.strip()[-1500:] or f"no output, status {self.status}"


class Runner:
    """Runs tasks, and knows how long they take."""

    def __init__(self, programs: processes.Programs, directory: str, collection: str) -> None:
        self.programs = programs
        self._directory = directory
        self._modules = f"{collection}.plugins.modules"
        self._number = 0
        self.times: dict[str, float] = {}
        # How many programs a task starts, and how many files it changes, as far as is known.
        self.steps: dict[tuple[str, str], int] = {}
        # The time of a task that has nothing to do: the start of Python.
        self.least = _FIRST_GUESS

    def usual(self, task: Task) -> float:
        """As long as it took in this state, or else in any."""
        return self.times.get(task.key) or self.times.get(task.key.partition("@")[0], _FIRST_GUESS)

    def patience(self, task: Task) -> float:
        return HANG_SECONDS + 3 * max(self.usual(task), 0.7)

    def start(self, task: Task) -> processes.Program:
        self._number += 1
        path = f"{self._directory}/{self._number}.json"
        arguments = {**task.params, "_ansible_remote_tmp": self._directory, "_ansible_check_mode": False}
        with open(path, "w", encoding="utf-8") as stream:
            json.dump({"ANSIBLE_MODULE_ARGS": arguments}, stream)
        return self.programs.start(["python3", "-m", f"{self._modules}.{task.module}", path])

    def run(self, task: Task) -> Ran:
        """Run a task to its end. One that hangs is killed, with a look at what it does."""
        program = self.start(task)
        ran = self.finish(task, program)
        if ran.ok:
            self.least = min(self.least, ran.seconds)
            before = self.times.get(task.key)
            self.times[task.key] = ran.seconds if before is None else 0.7 * before + 0.3 * ran.seconds
        return ran

    def finish(self, task: Task, program: processes.Program, killed: str = "") -> Ran:
        hung = ""
        if program.status(self.patience(task)) is None and not self._ends_after_all(program):
            hung = _look_at(program.pid)
            processes.kill(program.pid)
            program.status(5)
        result = program.result()
        said = None
        for line in reversed(result.output.splitlines()):
            if line.startswith("{"):
                with contextlib.suppress(ValueError):
                    said = json.loads(line)
                break
        program.forget()
        return Ran(task, result.status, result.seconds, said, result.errors, hung, killed)

    def _ends_after_all(self, program: processes.Program) -> bool:
        """Whether it ends after all, on a host that is too busy to tell: one that waits for a systemd that reloads has no fault."""
        limit = time.monotonic() + _BUSY_SECONDS
        while time.monotonic() < limit and self._is_busy():
            if program.status(HANG_SECONDS) is not None:
                return True
        return False

    def _is_busy(self) -> bool:
        if os.getloadavg()[0] > _BUSY_LOAD * (os.cpu_count() or 1):
            return True
        if not os.path.isdir("/run/systemd/system"):
            return False
        manager = ["systemctl"] if os.geteuid() == 0 else ["systemctl", "--user"]
        return self.programs.run([*manager, "show", "--property=Version"]).seconds > 1

    def kill(
        self, task: Task, fault: Fault, seen: t.Container[int], watched: t.Iterable[str]
    ) -> tuple[Ran | None, str]:
        """Start a task and kill it; also says what was killed, if anything.

        ``seen``: the descendants of this worker before. The first is None where the task was not waited for.
        """
        changes = Changes(watched) if fault.change else None
        program = self.start(task)
        if changes:
            wanted = self._within("changes", task, fault.change)
            count = changes.await_number(wanted, program.pid, 2 * self.usual(task) + 0.5)
            changes.close()
            self._reached("changes", task, wanted, count, program, fault)
        elif fault.program:
            self._await_program(task, program, fault)
        elif fault.mount:
            _await_mount(self._directory, program, 2 * self.usual(task) + 0.5)
            program.status(fault.milliseconds / 1000)
        else:
            least = min(self.least, self.usual(task))
            program.status(0.9 * least + fault.fraction * (self.usual(task) - 0.9 * least))
        killed = ""
        if program.status(0) is None and fault.scope == "program":
            killed = _strike_program(program, fault, seen, self.usual(task))
        elif program.status(0) is None:
            killed = _strike(program, fault, seen)
        length = time.monotonic() - program.started
        if not killed and program.status(0) == 0:
            self.times[task.key] = max(0.05, program.ended_after)
        elif killed and not fault.program and not fault.change and not fault.mount and length > self.usual(task):
            self.times[task.key] = length
        if fault.wait or fault.scope == "program":
            return self.finish(task, program, killed), killed
        return None, killed

    def _await_program(self, task: Task, program: processes.Program, fault: Fault) -> None:
        """Wait until the task has started its n-th program, or has ended, or should have."""
        started: set[int] = set()
        wanted = self._within("programs", task, fault.program)
        limit = time.monotonic() + 1.5 * self.usual(task) + 0.2
        while time.monotonic() < limit and program.status(0.001) is None:
            started |= processes.children(program.pid)
            if len(started) >= wanted:
                break
        self._reached("programs", task, wanted, len(started), program, fault)

    def _within(self, kind: str, task: Task, number: int) -> int:
        """A step that the task does take, as far as is known."""
        most = self.steps.get((kind, task.key), 0)
        return number if not most or number <= most else 1 + number % most

    def _reached(
        self, kind: str, task: Task, wanted: int, count: int, program: processes.Program, fault: Fault
    ) -> None:
        if count >= wanted:
            program.status(fault.milliseconds / 1000)
        elif count:
            self.steps[kind, task.key] = count


def _await_mount(directory: str, program: processes.Program, seconds: float) -> None:
    """Wait until something more is mounted in the directories of a worker, or the task has ended, or should have."""
    places = (f"{os.path.dirname(directory)}/", f"/{os.path.basename(os.path.dirname(directory))}/")

    def mounted() -> int:
        lines = processes.read("/proc/self/mountinfo").split("\n")
        return sum(any(place in line for place in places) for line in lines)

    before, limit = mounted(), time.monotonic() + seconds
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        changed = select.poll()
        changed.register(table, select.POLLPRI | select.POLLERR)
        while time.monotonic() < limit and program.status(0) is None:
            if changed.poll(20) and mounted() > before:
                return


def _strike_program(program: processes.Program, fault: Fault, seen: t.Container[int], seconds: float) -> str:
    """Kill one program that has come of the task, and not the task; where there is none so long, the task."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and program.status(0.002) is None:
        found = [
            each for each in processes.descendants(os.getpid()) if each.pid not in seen and each.pid != program.pid
        ]
        if found:
            # The one that started last, or now and then the first: conmon before the runtime.
            found.sort(key=lambda each: each.started)
            victim = found[-1 if fault.milliseconds < 10 else 0]
            processes.kill(victim.pid)
            return f"{victim.name} ({victim.command[:100]})"
    if program.status(0) is not None:
        return ""
    processes.kill(program.pid, fault.signal)
    return "task (no program was there)"


def _strike(program: processes.Program, fault: Fault, seen: t.Container[int]) -> str:
    """Kill; says what was."""
    if fault.scope == "task":
        processes.kill(program.pid, fault.signal)
        return "task"
    below = processes.descendants(program.pid)
    everything = [each for each in processes.descendants(os.getpid()) if each.pid not in seen]
    victims = below if fault.scope == "tree" else [each for each in everything if each.pid != program.pid]
    processes.kill(program.pid, fault.signal)
    for each in victims:
        processes.kill(each.pid, fault.signal)
    return ", ".join(["task", *(each.name for each in victims)])


def _look_at(pid: int) -> str:
    """Describe a process that hangs, and the processes below it."""
    lines = []
    for each in [processes.process(pid), *processes.descendants(pid)]:
        if each:
            where = processes.read(f"/proc/{each.pid}/wchan")
            lines.append(f"{each.pid} {each.state} {where} {each.command[:160]}")
    return "\n".join(lines) or "gone"
