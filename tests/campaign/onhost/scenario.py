# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The common parts of the scenarios of a trial."""

from __future__ import annotations

import dataclasses
import os
import random
import typing as t

from . import processes
from .look import Place
from .tasks import Fault, Ran, Runner, Task

# The most harmful first: a trial with several findings counts as the first of these.
OUTCOMES = (
    "lost-data", "incomplete", "traceback", "hang", "wrong-state", "failed-sentence", "leak", "setup", "recovered",
)  # fmt: skip


class Finding(t.NamedTuple):
    outcome: str
    text: str


@dataclasses.dataclass(frozen=True)
class Host:
    """The features of this host, and where things are."""

    user: str
    busybox: str
    runtimes: t.Mapping[str, str]
    managers: tuple[str, ...]
    systemd: bool
    criu: bool
    modules: frozenset[str]

    @classmethod
    def of(cls, spec: t.Mapping[str, t.Any]) -> Host:
        """The host as the specification of a run has it."""
        return cls(
            user=spec["user"],
            busybox=spec["busybox"],
            runtimes=spec["runtimes"],
            managers=tuple(spec["managers"]),
            systemd=spec["systemd"],
            criu=spec["criu"],
            modules=frozenset(spec["modules"]),
        )


class Setup(Exception):
    """The state that a trial begins with could not be brought about."""


class Scenario:
    """One trial: a state, a task that is killed, the next task, and what must be true then."""

    name = ""
    network = False

    def __init__(
        self, host: Host, runner: Runner, place: Place, rng: random.Random, number: int, shared: dict[str, t.Any]
    ) -> None:
        self.host, self.runner, self.place, self.rng, self.number = host, runner, place, rng, number
        # Kept by the worker from trial to trial.
        self.shared = shared
        # In all names of it. Another worker may do the same trial just now.
        self.token = f"t{number}{os.path.basename(place.base)}z"
        self.findings: list[Finding] = []
        self.start_state = ""
        self.victim: Task
        self.following: Task
        # Set by the one who kills.
        self.fault: Fault
        self.killed = ""

    @property
    def programs(self) -> processes.Programs:
        return self.runner.programs

    @property
    def directories(self) -> dict[str, str]:
        return {"state_dir": self.place.state, "run_dir": self.place.run}

    def find(self, outcome: str, text: str) -> None:
        self.findings.append(Finding(outcome, text))

    def set_up(self, *tasks: Task) -> list[Ran]:
        """Run tasks without killing them."""
        done = []
        for task in tasks:
            ran = self.runner.run(task)
            if not ran.ok:
                raise Setup(f"{task.key}: {ran.hung or ran.message()}")
            done.append(ran)
        return done

    def judge(self, ran: Ran, what: str, *, excused: t.Callable[[Ran], str] = lambda _ran: "") -> bool:
        """Whether a task that was not killed succeeded; if it did not, that is a finding, unless there is a reason."""
        if ran.hung:
            self.find("hang", f"{what} {ran.task.key} not done after {ran.seconds:.1f} s:\n{ran.hung}")
        elif ran.traceback:
            self.find("traceback", f"{what} {ran.task.key}: {ran.message()}")
        elif not ran.ok:
            if not excused(ran):
                self.find("failed-sentence", f"{what} {ran.task.key}: {ran.message()}")
        else:
            return True
        return False

    # A scenario says:

    def prepare(self) -> None:
        """Bring the state about, and choose victim and following."""
        raise NotImplementedError

    def of_this_kind(self, fault: Fault) -> Fault:
        """Change the fault to one at a moment that only such tasks have, now and then."""
        return fault

    def watched(self) -> list[str]:
        """The directories whose changes are counted for the moment of the kill."""
        return [f"{self.place.base}/{name}" for name in ("state", "given", "archives")] + [self.place.run]

    def excused(self, ran: Ran) -> str:
        """Why the next task may say no, if there is a reason."""
        return ""

    def check(self, ran: Ran, *, later: bool) -> None:
        """Compare what the next task reported with what is."""
        raise NotImplementedError

    def repeat(self, ran: Ran) -> bool:
        """Whether the next task, run once more, must be unchanged."""
        return True

    def afterwards(self, ran: Ran) -> None:
        """More that has to work now, and the invariants."""

    def removal(self) -> list[Task]:
        """The tasks that remove all of it."""
        raise NotImplementedError

    def removed(self) -> None:
        """The invariants that hold even then; also takes away what the trial made itself."""
