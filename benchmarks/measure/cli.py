# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: options, rounds, and the verdict."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import typing as t

# The engine imports nothing of Ansible, so it can be used from where it lies.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../plugins"))

from module_utils._host.detect import Host
from module_utils._state.model import Program

from . import bare, machine, ours, podman, rounds, table, tasks
from .clock import Lap
from .workspace import Workspace

LIMIT = 1.5  # what our create + start may take, in times of the bare commands
# A container that is gone still gives the kernel work (namespaces, cgroups); it must not count for the next candidate.
SETTLE = 0.03


def main() -> int:
    options = _options()
    return rounds.run("lifecycle", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise SystemExit("lifecycle: this needs root")
    ansible = tasks.Ansible() if options.tasks else None
    if ansible:
        ansible.install()
    lap = Lap()
    with Workspace() as workspace:
        host = Host(run_dir=f"{workspace.run}/programs")
        runtime, conmon = host.runtime(options.runtime), host.conmon(None)
        workspace.make_bundle(runtime.path)
        with_podman = options.podman and shutil.which("podman") is not None
        print(table.facts(_facts([conmon, runtime], options, ansible, with_podman)), flush=True)
        peer = podman.Podman(workspace, runtime=runtime.path) if with_podman else None
        try:
            candidates: list[t.Any] = [
                bare.Bare(workspace, runtime=runtime.path, conmon=conmon.path),
                bare.Bare(workspace, runtime=runtime.path, conmon=conmon.path, placed=True),
                ours.Ours(workspace, runtime=runtime.path, conmon=conmon.path),
            ]
            everybody = [*candidates, peer] if peer else candidates
            rounds.measure([_settled(candidate) for candidate in everybody], lap, options.rounds)
            if ansible:
                environment = peer.environment if peer else None
                tasks.measure(
                    ansible, workspace, lap, rounds=options.rounds, runtime=runtime.path, podman=environment,
                    against=options.against,
                )  # fmt: skip
        finally:
            if peer:
                peer.remove_all()
    print(f"\n{table.times(_in_order(lap))}\n")
    return _judge(lap, options.demand)


def _settled(candidate: t.Any) -> t.Callable[[Lap], None]:
    def round_after_a_pause(lap: Lap) -> None:
        time.sleep(SETTLE)
        candidate.round(lap)

    return round_after_a_pause


def _in_order(lap: Lap) -> dict[tuple[str, str], list[float]]:
    """Steps as in a life, and in each the floor first, then ours, then podman."""
    steps = ["gauge", "create + start", "unchanged", "stop by SIGKILL", "remove"]
    steps += [f"task: {step}" for step in ("no-op", *tasks.STEPS)]
    names = [bare.NAME, bare.CREATE, bare.START, bare.PLACED, ours.NAME, tasks.OURS, tasks.OTHER]

    def place(key: tuple[str, str]) -> tuple[int, int]:
        return steps.index(key[0]), names.index(key[1]) if key[1] in names else len(names)

    return {key: lap.samples[key] for key in sorted(lap.samples, key=place)}


def _judge(lap: Lap, demand: bool) -> int:
    step = "create + start"
    names = (bare.NAME, bare.PLACED, ours.NAME, podman.NAME)
    floor, placed, mine, other = (lap.median(step, name) for name in names)
    if floor is None or placed is None or mine is None:
        return 1
    good = mine <= LIMIT * floor
    print(f"{step}: longshore takes {mine / floor:.2f} times the bare commands (limit {LIMIT}),")
    print(f"{mine / placed:.2f} times those with conmon in a cgroup of its own", end="")
    if other is not None:
        good = good and mine <= other
        print(f", and podman {other / mine:.1f} times longshore", end="")
    print(".")
    if demand and not good:
        print("lifecycle: longshore is too slow", file=sys.stderr)
        return 1
    return 0


def _facts(
    programs: list[Program], options: argparse.Namespace, ansible: tasks.Ansible | None, with_podman: bool
) -> list[tuple[str, str]]:
    facts = machine.facts(programs, with_podman)
    facts.append(("ansible", ansible.versions() if ansible else "left out (--no-tasks)"))
    if not with_podman:
        facts.append(("podman", "left out " + ("(not installed)" if options.podman else "(--no-podman)")))
    facts.append(("rounds", f"{options.rounds}, and {rounds.WARM_UP} before them that do not count"))
    return facts


def _options() -> argparse.Namespace:
    parser = rounds.options("lifecycle", rounds=20)
    rounds.add_candidates(parser)
    parser.add_argument(
        "--assert", dest="demand", action="store_true",
        help=f"fail when create + start takes more than {LIMIT} times the bare commands, or more than podman",
    )  # fmt: skip
    parser.add_argument(
        "--against", metavar="CHECKOUT", type=os.path.realpath,
        help="measure the tasks of another checkout of the collection too, in the same run",
    )  # fmt: skip
    return parser.parse_args()
