# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Longshore's engine, in this process: what oci_container does once Ansible has started it."""

from __future__ import annotations

from module_utils._lifecycle.containers import Containers
from module_utils._state.model import Action, CgroupManager, Definition, Desired, Goal, Timeouts

from .clock import Lap
from .workspace import Workspace

NAME = "longshore"


class Ours:
    def __init__(self, workspace: Workspace, *, runtime: str, conmon: str) -> None:
        self._directories = {"state_dir": f"{workspace.state}/longshore", "run_dir": f"{workspace.run}/longshore"}
        self._definition = Definition(
            workspace.bundle,
            runtime=runtime,
            conmon=conmon,
            cgroup_manager=CgroupManager.CGROUPFS,
            cgroup_parent=workspace.cgroup,
        )

    def round(self, lap: Lap) -> None:
        with lap("create + start", NAME):
            self._converge(Goal.STARTED, Action.CREATE, Action.START)
        with lap("unchanged", NAME):
            self._converge(Goal.STARTED)
        with lap("stop by SIGKILL", NAME):
            self._converge(Goal.STOPPED, Action.STOP)
        with lap("remove", NAME):
            self._converge(Goal.ABSENT, Action.REMOVE)

    def _converge(self, goal: Goal, *expected: Action) -> None:
        """One of its own each time, as each task has one; what it remembers on disk stays."""
        containers = Containers(**self._directories)
        definition = self._definition if goal is Goal.STARTED else None
        outcome = containers.converge(Desired(NAME, goal, definition, timeouts=Timeouts(stop=0)))
        if outcome.actions != expected or outcome.warnings:
            raise SystemExit(f"lifecycle: the engine did {outcome.actions}, not {expected}: {outcome.warnings}")
