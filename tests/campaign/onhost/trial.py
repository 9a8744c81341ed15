# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""One trial from its state to the leak check, and a worker that does them one after the other."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import time
import traceback
import typing as t

from . import fixtures, leaks, processes
from .bundles import Bundles
from .containers import Checkpoints, Containers, Execs, Helpers, Services
from .look import Place
from .networks import Networks
from .scenario import OUTCOMES, Host, Scenario, Setup
from .tasks import Fault, Ran, Runner

# How often each is drawn, and the names by which they are chosen.
_SCENARIOS: tuple[tuple[str, type[Scenario], int], ...] = (
    ("oci_container", Containers, 34),
    ("oci_exec", Execs, 10),
    ("oci_checkpoint", Checkpoints, 22),
    ("oci_bundle", Bundles, 16),
    ("oci_network", Networks, 5),
    ("service", Services, 8),
    ("network_helper", Helpers, 5),
)
MODULES = tuple(name for name, _kind, _weight in _SCENARIOS)
# Programs of the killed task that work on have shown themselves by then.
_LATER = 2.0


def available(host: Host) -> list[tuple[type[Scenario], int]]:
    """Those that this user of this host can run."""
    found = []
    for name, kind, weight in _SCENARIOS:
        fits = {
            "oci_network": host.user == "root",
            "oci_checkpoint": host.user == "root" and host.criu,
            "service": host.systemd,
        }.get(name, True)
        if name in host.modules and fits:
            found.append((kind, weight))
    return found


def draw(host: Host, seed: int, number: int) -> tuple[type[Scenario], random.Random]:
    """The scenario of a trial, and where all of its other choices come from."""
    rng = random.Random(f"{seed}/{number}")
    kinds = available(host)
    kind = rng.choices([kind for kind, _weight in kinds], [weight for _kind, weight in kinds])[0]
    return kind, rng


class Worker:
    """Does trials in directories of its own."""

    def __init__(self, spec: dict[str, t.Any], number: int) -> None:
        self.spec, self.number = spec, number
        self.host = Host.of(spec)
        self._generation = 0
        self._make()

    def _make(self) -> None:
        """Directories that no trial has used, also after a leak."""
        self._generation += 1
        name = f"w{self.number}g{self._generation}"
        base, run = f"{self.spec['base']}/{name}", f"{self.spec['run']}/{name}"
        self.place = Place(base, f"{base}/state", run)
        for directory in ("io", "bundles", "volumes", "slow", "given", "archives", "cold", "state"):
            os.makedirs(f"{base}/{directory}", mode=0o755)
        os.makedirs(run, mode=0o755)
        shutil.copy2(self.host.busybox, f"{base}/busybox")
        fixtures.make_layout(f"{base}/layout", f"{base}/busybox")
        for version in ("v1", "v2"):
            fixtures.make_rootfs(f"{base}/rootfs-{version}", f"{base}/busybox", files=700 if version == "v1" else 720)
        os.chdir(base)
        if self._generation == 1:
            self.programs = processes.Programs(f"{base}/io", self.spec["payload"])
        earlier: Runner | None = getattr(self, "runner", None)
        self.runner = Runner(self.programs, f"{base}/io", self.spec["collection"])
        if earlier:
            self.runner.times, self.runner.steps, self.runner.least = earlier.times, earlier.steps, earlier.least
        self.shared: dict[str, t.Any] = {}

    def trial(self, number: int) -> dict[str, t.Any]:
        """The result of a trial, for the summary."""
        started = time.monotonic()
        if self.spec["rehearse"]:
            self._attempt(number, killing=False)
        scenario = self._attempt(number, killing=True)
        outcomes = {finding.outcome for finding in scenario.findings} or {"recovered"}
        return {
            "trial": number,
            "user": self.host.user,
            "scenario": scenario.name,
            "runtime": os.path.basename(getattr(scenario, "runtime", "")),
            "state": scenario.start_state,
            "operation": scenario.victim.key if hasattr(scenario, "victim") else "",
            "fault": scenario.fault.text() if hasattr(scenario, "fault") else "",
            "killed": scenario.killed,
            "next": scenario.following.key if hasattr(scenario, "following") else "",
            "slow": getattr(scenario, "slowness", ""),
            "launch": {name: value for name, value in getattr(scenario, "launch", {}).items() if name != "runtime"},
            "outcome": next(each for each in OUTCOMES if each in outcomes),
            "findings": [list(finding) for finding in scenario.findings],
            "seconds": round(time.monotonic() - started, 2),
        }

    def _attempt(self, number: int, *, killing: bool) -> Scenario:
        kind, rng = draw(self.host, self.spec["seed"], number)
        scenario = kind(self.host, self.runner, self.place, rng, number, self.shared)
        network = scenario.network
        before = leaks.before(self.programs, network=network)
        try:
            scenario.prepare()
            self._kill(scenario, rng, killing=killing)
        except Setup as error:
            scenario.find("setup", str(error))
        except Exception:
            scenario.find("setup", f"of the campaign itself: {traceback.format_exc()[-1500:]}")
        try:
            self._remove(scenario)
            left = leaks.find(self.programs, self.place, scenario.token, before, network=network)
        except Exception:
            left = [f"of the campaign itself: {traceback.format_exc()[-1500:]}"]
        for line in left:
            scenario.find("leak", line)
        if scenario.findings:
            leaks.clear(self.programs, self.place, scenario.token, before)
            self._make()
        return scenario

    def _kill(self, scenario: Scenario, rng: random.Random, *, killing: bool) -> None:
        scenario.fault = scenario.of_this_kind(Fault.draw(rng))
        seen = {each.pid for each in processes.descendants(os.getpid())}
        if killing:
            victim, scenario.killed = self.runner.kill(scenario.victim, scenario.fault, seen, scenario.watched())
        else:
            victim = self.runner.run(scenario.victim)
        struck = time.monotonic()
        following = self.runner.run(scenario.following)
        if victim:
            _judge_victim(scenario, victim)
        good = scenario.judge(following, "next", excused=scenario.excused)
        if good:
            scenario.check(following, later=False)
        again = good and scenario.repeat(following) and rng.random() < 0.3
        time.sleep(max(0.0, _LATER - (time.monotonic() - struck)))
        if good:
            scenario.check(following, later=True)
        if again:
            once_more = self.runner.run(scenario.following)
            if scenario.judge(once_more, "once more"):
                scenario.check(once_more, later=True)
                if once_more.said and once_more.said.get("changed"):
                    scenario.find(
                        "wrong-state", f"once more {scenario.following.key}: changed ({once_more.said.get('actions')})"
                    )
        scenario.afterwards(following)

    def _remove(self, scenario: Scenario) -> None:
        for task in scenario.removal():
            scenario.judge(self.runner.run(task), "at the end")
        scenario.removed()


def _judge_victim(scenario: Scenario, victim: Ran) -> None:
    """The killed task itself: it has to end, and in one of the ways that are meant."""
    if victim.hung:
        scenario.find("hang", f"the task that was killed ({victim.killed}) did not end:\n{victim.hung}")
        return
    last = (victim.errors.strip().splitlines() or [""])[-1]
    if (
        victim.said is None
        and victim.status is not None
        and victim.status >= 0
        and last
        and "KeyboardInterrupt" not in last
    ):
        scenario.find("traceback", f"of the task that was killed ({victim.killed}): {victim.errors[-1500:]}")


def main() -> int:
    """A worker: numbers of trials come on standard input, results go out as lines of JSON."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        spec = json.load(stream)
    # Standard input is not for the programs, and their output is not a result.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(spec, int(sys.argv[2]))
    for line in sys.stdin:
        result = worker.trial(int(line))
        out.write(json.dumps(result) + "\n")
        out.flush()
    return 0


def short(text: str) -> str:
    """A name for directories, of a seed and whatever else."""
    return hashlib.sha256(text.encode()).hexdigest()[:6]


if __name__ == "__main__":
    sys.exit(main())
