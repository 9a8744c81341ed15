# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Shares jobs among workers: each takes the longest that is left and fits it, by the times of former runs."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Callable, TypeVar

from . import processes

_J = TypeVar("_J")
_W = TypeVar("_W")
_R = TypeVar("_R")
# A job that never ran begins first: it may be the longest.
_UNKNOWN = 600.0
# The times of a run are kept here in the cache; a run without a cache goes by the file beside this one.
_KEPT = "durations.json"


def durations(cache: str) -> dict[str, float]:
    """Give the seconds of each line of the report, as ``PART NAME``."""
    known: dict[str, float] = {}
    for directory in (os.path.dirname(os.path.abspath(__file__)), cache):
        with contextlib.suppress(OSError, ValueError), open(os.path.join(directory, _KEPT), encoding="utf-8") as file:
            known.update(_times(json.load(file)))
    return known


def _times(read: object) -> dict[str, float]:
    """Take nothing of a damaged file: the cache is not ours alone."""
    if isinstance(read, dict) and all(type(seconds) in (int, float) for seconds in read.values()):
        return read
    return {}


def keep(cache: str, took: Mapping[str, float]) -> None:
    """Write down what a run took, over what is known of others. Without it the next run begins in a worse order, no more."""
    path = os.path.join(cache, _KEPT)
    known = {**durations(cache), **{name: round(seconds, 1) for name, seconds in took.items()}}
    with contextlib.suppress(OSError):
        with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
            json.dump(dict(sorted(known.items())), file, indent=1)
        os.replace(f"{path}.{os.getpid()}", path)


def seconds(known: Mapping[str, float], name: str) -> float:
    """Say how long a line takes."""
    return known.get(name, _UNKNOWN)


def share(
    workers: Sequence[_W], jobs: Sequence[_J], fits: Callable[[_W, _J], bool], work: Callable[[_W, _J], _R]
) -> list[_R]:
    """Do all jobs, which are in the order in which they begin. The workers are at work at the same time."""
    left, lock = list(jobs), threading.Lock()
    done: list[_R] = []

    def one(worker: _W) -> None:
        while True:
            with lock:
                job = _take(worker, left, fits)
            if job is None:
                return
            done.append(work(worker, job))

    processes.side_by_side(one, workers)
    return done


def plan(
    workers: Sequence[_W], jobs: Sequence[_J], fits: Callable[[_W, _J], bool], length: Callable[[_J], float]
) -> list[tuple[float, list[_J]]]:
    """Tell for each worker when it has done, and what it does, if all jobs take as long as they are said to."""
    left = list(jobs)
    ends = [0.0] * len(workers)
    taken: list[list[_J]] = [[] for _worker in workers]
    idle = list(range(len(workers)))
    while idle:
        number = min(idle, key=lambda one: ends[one])
        job = _take(workers[number], left, fits)
        if job is None:
            idle.remove(number)
        else:
            ends[number] += length(job)
            taken[number].append(job)
    return list(zip(ends, taken))


def _take(worker: _W, left: list[_J], fits: Callable[[_W, _J], bool]) -> _J | None:
    for job in left:
        if fits(worker, job):
            left.remove(job)
            return job
    return None
