# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill tasks at some of their steps, with the real runtime and CRIU, and see that the next task does what it says.

Takes a JSON object: where the collection is, state_dir, run_dir, bundle (that counts), name, runtime, ignores (cgroups) and most
(kills of one kind of task). Prints what went wrong, and nothing if all went well.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import typing as t

ASKED = json.loads(sys.argv[1])
sys.path.insert(0, ASKED["collections"])
sys.dont_write_bytecode = True

from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import plan  # noqa: E402
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.checkpoints import Checkpoints  # noqa: E402
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.request import Request  # noqa: E402
from ansible_collections.longshore.oci.plugins.module_utils._criu import criu  # noqa: E402
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers  # noqa: E402
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (  # noqa: E402
    Definition,
    Desired,
    Goal,
    Status,
    Timeouts,
)
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store  # noqa: E402
from ansible_collections.longshore.oci.tests.unit import killing  # noqa: E402

NAME, ARCHIVE = ASKED["name"], f"{ASKED['archives']}/archive"
PLACES = {"state_dir": ASKED["state_dir"], "run_dir": ASKED["run_dir"]}
OPTIONS = criu.Options(manage_cgroups_mode="ignore" if ASKED["ignores"] else None)
STORE = Store(**PLACES)
WANTED = plan.Goal


def converge(goal: Goal) -> t.Any:
    wanted = None if goal is Goal.ABSENT else Definition(ASKED["bundle"], runtime=ASKED["runtime"])
    return Containers(**PLACES).converge(Desired(NAME, goal, wanted, timeouts=Timeouts(stop=0)))


def checkpoint(goal: plan.Goal, **more: t.Any) -> t.Any:
    request = Request(NAME, goal, OPTIONS, timeout=60, **more)
    return Checkpoints(**PLACES).converge(request)


def counted() -> list[int]:
    if not os.path.exists(STORE.paths(NAME).log):
        return []
    with open(STORE.paths(NAME).log, encoding="utf-8") as stream:
        return [int(line.split()[-1]) for line in stream if line.endswith("\n")]


def wait_until_it_counts() -> None:
    before, end = len(counted()), time.monotonic() + 10
    while len(counted()) < before + 2:
        assert time.monotonic() < end, "it does not count"
        time.sleep(0.02)


def fresh() -> None:
    converge(Goal.ABSENT)
    with open(ARCHIVE, "w", encoding="utf-8") as stream:
        stream.write("old")
    os.chmod(ARCHIVE, 0o600)
    converge(Goal.STARTED)
    wait_until_it_counts()


def dumped() -> None:
    fresh()
    checkpoint(WANTED.CHECKPOINTED)


KILLED: dict[str, tuple[t.Callable[[], None], t.Callable[[], t.Any]]] = {
    "dump": (fresh, lambda: checkpoint(WANTED.CHECKPOINTED, archive=ARCHIVE, compression="gzip", include_rootfs=True)),
    "restore": (dumped, lambda: checkpoint(WANTED.RESTORED)),
    "start": (dumped, lambda: converge(Goal.STARTED)),
    "absent": (dumped, lambda: checkpoint(WANTED.ABSENT)),
}


def start() -> None:
    assert converge(Goal.STARTED).after.status is Status.RUNNING
    wait_until_it_counts()
    assert converge(Goal.STARTED).actions == ()


def dump() -> None:
    start()
    assert checkpoint(WANTED.CHECKPOINTED, archive=ARCHIVE).after.status is Status.CHECKPOINTED
    assert os.path.getsize(ARCHIVE) > 1000, "the archive is the old one"
    start()


def absent() -> None:
    checkpoint(WANTED.ABSENT)
    assert checkpoint(WANTED.ABSENT).plan.actions == ()
    assert Containers(**PLACES).observe(NAME).status is not Status.CHECKPOINTED


def restore() -> None:
    if Containers(**PLACES).observe(NAME).status is Status.CHECKPOINTED:
        assert checkpoint(WANTED.RESTORED).after.status is Status.RUNNING
    start()


NEXT = (start, dump, restore, absent)


def files() -> dict[str, object]:
    found: dict[str, object] = {}
    for directory, _below, names in os.walk(f"{ASKED['bundle']}/rootfs"):
        for name in names:
            status = os.lstat(f"{directory}/{name}")
            found[f"{directory}/{name}"] = (status.st_size, status.st_mode, status.st_mtime_ns)
    return found


def wrong(begin: t.Callable[[], None], task: t.Callable[[], t.Any], then: t.Callable[[], None], **how: t.Any) -> str:
    """Kill it, do what comes next, and remove all; returns what was wrong."""
    begin()
    before = files()
    end = killing.kill(task, **how)
    found = []
    try:
        then()
        numbers = counted()
        if end.was_killed and not how["everything"] and then is not absent and task is not KILLED["absent"][1]:
            found += [f"after {a} it counted {b}" for a, b in zip(numbers, numbers[1:]) if b != a + 1]
    except Exception as exc:
        found.append(f"{type(exc).__name__}: {exc}")
    if files() != before:
        found.append("its root file system is another")
    converge(Goal.ABSENT)
    paths = STORE.paths(NAME)
    found += [f"{path} is left" for path in (paths.state, paths.run, paths.lock) if os.path.lexists(path)]
    found += [f"{name} is left" for name in os.listdir(ASKED["archives"]) if name != "archive"]
    return f"killed before {end.steps[-1:]}, then {then.__name__}: {found}" if found else ""


def main() -> None:
    chance = random.Random(ASKED["runtime"])
    number = 0
    for name, (begin, task) in KILLED.items():
        begin()
        steps = len(killing.steps(task))
        for at in killing.spread(steps, ASKED["most"], seed=len(ASKED["runtime"])):
            how = {
                "at": at, "number": chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]),
                "later": chance.choice([0, 0, 0.03]),
            }  # fmt: skip
            said = wrong(begin, task, NEXT[number % len(NEXT)], everything=False, **how)
            number += 1
            if said:
                print(f"{name}, {how}: {said}")
    converge(Goal.ABSENT)
    os.unlink(ARCHIVE)


main()
