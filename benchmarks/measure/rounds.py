# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the common parts of the benchmarks: options, rounds in which candidates take turns, and a clean end."""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import typing as t

from module_utils._base.errors import LongshoreError

from .clock import Lap

WARM_UP = 2


def options(name: str, *, rounds: int) -> argparse.ArgumentParser:
    """A parser that knows ``--rounds``."""
    parser = argparse.ArgumentParser(prog=f"benchmarks/{name}", description=sys.modules["__main__"].__doc__)
    text = f"how often each is measured (default: {rounds})"
    parser.add_argument("--rounds", type=_at_least_one, default=rounds, help=text)
    return parser


def add_candidates(parser: argparse.ArgumentParser) -> None:
    """Options for who takes part."""
    parser.add_argument("--runtime", default="auto", help="runc, crun or a path, for all candidates (default: auto)")
    parser.add_argument("--no-tasks", dest="tasks", action="store_false", help="leave the tasks of Ansible out")
    parser.add_argument("--no-podman", dest="podman", action="store_false", help="leave podman out")


def run(name: str, body: t.Callable[[], int]) -> int:
    """The exit status of a benchmark, which ends cleanly when it is interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return body()
    except LongshoreError as exc:
        print(f"{name}: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted, and all is cleaned up", file=sys.stderr)
        return 130


def measure(candidates: t.Sequence[t.Callable[[Lap], None]], lap: Lap, rounds: int) -> None:
    """Each round runs all candidates, in an order that changes, so that a slow spell of the machine hits all alike."""
    order, shuffle = list(candidates), random.Random(1).shuffle
    for number in range(WARM_UP + rounds):
        shuffle(order)
        counted = lap if number >= WARM_UP else Lap()
        with counted("gauge", "fork + exec /bin/true"):
            subprocess.run(["/bin/true"], check=True)
        for candidate in order:
            candidate(counted)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
