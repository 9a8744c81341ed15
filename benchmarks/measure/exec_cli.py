# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""benchmarks/exec: one container each of Longshore's engine and of podman, and commands in them."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

# The engine imports nothing of Ansible, so it can be used from where it lies.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../plugins"))

from module_utils._exec import run as engine_exec
from module_utils._exec.process_spec import Command
from module_utils._host.detect import Host
from module_utils._lifecycle.containers import Containers
from module_utils._state.model import CgroupManager, Definition, Desired, Goal, Timeouts

from . import machine, podman, rounds, table, tasks
from .clock import Lap
from .workspace import COMMAND, Workspace

BARE, OURS, PODMAN = "bare runtime exec", "longshore", "podman exec"
TASK_OURS, TASK_PODMAN = "longshore.oci.oci_exec", "containers.podman.podman_container_exec"
NAME = "bench"
SIZE = 16 << 20
# The commands, and how many bytes each of them writes.
COMMANDS: dict[str, tuple[tuple[str, ...], int]] = {
    "true": (("/bin/true",), 0),
    "16 MiB of output": (("/bin/busybox", "head", "-c", str(SIZE), "/dev/zero"), SIZE),
}


def main() -> int:
    parser = rounds.options("exec", rounds=20)
    rounds.add_candidates(parser)
    options = parser.parse_args()
    return rounds.run("exec", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise SystemExit("exec: this needs root")
    ansible = tasks.Ansible() if options.tasks else None
    if ansible:
        ansible.install()
    lap = Lap()
    with Workspace() as workspace:
        host = Host(run_dir=f"{workspace.run}/programs")
        runtime, conmon = host.runtime(options.runtime), host.conmon(None)
        workspace.make_bundle(runtime.path)
        with_podman = options.podman and shutil.which("podman") is not None
        facts = machine.facts([conmon, runtime], with_podman)
        facts.append(("ansible", ansible.versions() if ansible else "left out (--no-tasks)"))
        facts.append(("rounds", f"{options.rounds}, and {rounds.WARM_UP} before them that do not count"))
        print(table.facts(facts), flush=True)
        ours = Ours(workspace, runtime=runtime.path, conmon=conmon.path)
        peer = Peer(workspace, runtime=runtime.path) if with_podman else None
        try:
            rounds.measure([ours.bare, ours.run, *([peer.run] if peer else [])], lap, options.rounds)
            if ansible:
                _measure_tasks(ansible, workspace, lap, options.rounds, peer)
        finally:
            if peer:
                peer.end()
            ours.end()
    print(f"\n{table.times(_in_order(lap))}")
    return 0


class Ours:
    """The container of the engine, in which the bare runtime runs its commands too."""

    def __init__(self, workspace: Workspace, *, runtime: str, conmon: str) -> None:
        self._directories = {"state_dir": f"{workspace.state}/longshore", "run_dir": f"{workspace.run}/longshore"}
        definition = Definition(
            workspace.bundle,
            runtime=runtime,
            conmon=conmon,
            cgroup_manager=CgroupManager.CGROUPFS,
            cgroup_parent=workspace.cgroup,
        )
        self._converge(Goal.STARTED, definition)
        self._argv = [runtime, "--root", f"{workspace.run}/longshore/{os.path.basename(runtime)}", "exec", NAME]

    def bare(self, lap: Lap) -> None:
        for step, (argv, size) in COMMANDS.items():
            with lap(step, BARE):
                result = subprocess.run(
                    [*self._argv, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True
                )
            _check(BARE, len(result.stdout), size)

    def run(self, lap: Lap) -> None:
        for step, (argv, size) in COMMANDS.items():
            with lap(step, OURS):
                # A store of its own each time, as each task has one.
                result = engine_exec.run(Containers(**self._directories).store, NAME, Command(argv))
            _check(OURS, len(result.stdout), size if result.rc == 0 else -1)

    def end(self) -> None:
        self._converge(Goal.ABSENT)

    def _converge(self, goal: Goal, definition: Definition | None = None) -> None:
        Containers(**self._directories).converge(Desired(NAME, goal, definition, timeouts=Timeouts(stop=0)))


class Peer:
    """The same with podman."""

    def __init__(self, workspace: Workspace, *, runtime: str) -> None:
        self._podman = podman.Podman(workspace, runtime=runtime)
        self.environment = self._podman.environment
        self._call(
            "run", "--detach", "--name", NAME, "--network", "none", "--cgroup-parent", workspace.cgroup,
            "--rootfs", workspace.rootfs, *COMMAND,
        )  # fmt: skip

    def run(self, lap: Lap) -> None:
        for step, (argv, size) in COMMANDS.items():
            with lap(step, PODMAN):
                said = self._call("exec", NAME, *argv)
            _check(PODMAN, len(said), size)

    def end(self) -> None:
        self._podman.remove_all()

    def _call(self, *words: str) -> bytes:
        argv, nothing = ["podman", *words], subprocess.DEVNULL
        result = subprocess.run(argv, env=self.environment, stdin=nothing, capture_output=True, check=False)
        if result.returncode != 0:
            raise SystemExit(f"exec: podman {words[0]} failed: {result.stderr.decode(errors='replace').strip()}")
        return result.stdout


def _check(candidate: str, found: int, size: int) -> None:
    """One that loses output, or does nothing, would be fast."""
    if found != size:
        raise SystemExit(f"exec: {candidate} returned {found} bytes, not {size}")


def _measure_tasks(ansible: tasks.Ansible, workspace: Workspace, lap: Lap, number: int, peer: Peer | None) -> None:
    argv, _size = COMMANDS["true"]
    places = {"state_dir": f"{workspace.state}/longshore", "run_dir": f"{workspace.run}/longshore"}
    one_round = [
        tasks.task("no-op", tasks.FLOOR, tasks.FLOOR, {}),
        tasks.task("true", TASK_OURS, TASK_OURS, {"name": NAME, "argv": list(argv), **places}),
    ]
    if peer:
        one_round.append(tasks.task("true", TASK_PODMAN, TASK_PODMAN, {"name": NAME, "argv": list(argv)}))
    tasks.play(ansible, workspace, lap, one_round, rounds=number, environment=peer.environment if peer else None)


def _in_order(lap: Lap) -> dict[tuple[str, str], list[float]]:
    """In each step the floor first, then ours, then podman."""
    steps = ["gauge", *COMMANDS, "task: no-op", "task: true"]
    names = ["fork + exec /bin/true", BARE, OURS, PODMAN, tasks.FLOOR, TASK_OURS, TASK_PODMAN]
    order = sorted(lap.samples, key=lambda key: (steps.index(key[0]), names.index(key[1])))
    return {key: lap.samples[key] for key in order}
