# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""End the processes of a cgroup, frozen or not, and remove its directories."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.deadline import Deadline
from .._base.files import read_text
from .._base.pidfd import kill_and_wait
from .._base.process import ProcessId, identify
from .cgroup import directories


def thaw(path: str | None) -> None:
    """Thaw a frozen cgroup without the runtime. runc and crun read their state from the same files."""
    _write(path, {"cgroup.freeze": "0", "freezer.state": "THAWED"})


def _write(path: str | None, values: t.Mapping[str, str]) -> None:
    """Write values to the existing files of a cgroup. The files differ by hierarchy, and may disappear at any moment."""
    for directory in directories(path):
        for name, value in values.items():
            with contextlib.suppress(OSError), open(f"{directory}/{name}", "w", encoding="ascii") as stream:
                stream.write(value)


def members(path: str | None) -> list[ProcessId]:
    """Return all processes of a cgroup and of those below it, except this process."""
    pids = set()
    for top in directories(path):
        for directory, _names, _files in os.walk(top):
            pids.update((read_text(f"{directory}/cgroup.procs") or "").split())
    found = (identify(int(pid)) for pid in pids if int(pid) not in (0, os.getpid()))
    return [process for process in found if process is not None]


def kill(path: str | None, deadline: Deadline) -> list[ProcessId]:
    """Send SIGKILL to all processes in a cgroup, frozen or not. Return those that still run at the deadline.

    cgroup.kill (Linux 5.14, v2) also stops a fork bomb. Without it, read the list again until it is empty. A v1 freezer
    delays SIGKILL until it is thawed, v2 does not (verified with runc 1.1 and crun 1.8).
    """
    while True:
        before = members(path)
        if not before:
            return []
        _write(path, {"cgroup.kill": "1"})
        left = kill_and_wait(before, deadline, before_waiting=lambda: thaw(path))
        if left:
            return left


def remove(path: str | None) -> list[str]:
    """Remove a cgroup and those below it. Return the directories that could not be removed."""
    left = []
    for top in directories(path):
        for directory, _names, _files in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError as exc:
                left += [] if isinstance(exc, FileNotFoundError) else [directory]
    return left
