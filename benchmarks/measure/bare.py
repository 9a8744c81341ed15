# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor: conmon, RUNTIME create and RUNTIME start with the least hand-shake, and no care for anything else."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess

from module_utils._host import cgroup

from .clock import Lap
from .workspace import Workspace

NAME = "bare"
CREATE, START = "bare, conmon + create alone", "bare, start alone"
PLACED = "bare, conmon in own cgroup"


class Bare:
    """``placed``: conmon is moved to a cgroup of its own before it may fork, as it must be to outlive its session."""

    def __init__(self, workspace: Workspace, *, runtime: str, conmon: str, placed: bool = False) -> None:
        self._cgroup = f"{workspace.cgroup}/bare/conmon" if placed else None
        self._bundle = workspace.bundle
        self._run = f"{workspace.run}/bare"
        self._runtime = [runtime, "--root", f"{self._run}/runtime"]
        self._argv = [
            conmon, "--api-version", "1", "--cid", NAME, "--cuuid", NAME, "--name", NAME,
            "--runtime", runtime, "--runtime-arg", "--root", "--runtime-arg", f"{self._run}/runtime",
            "--bundle", self._bundle, "--container-pidfile", f"{self._run}/pid",
            "--conmon-pidfile", f"{self._run}/conmon.pid", "--exit-dir", f"{self._run}/exits",
            "--socket-dir-path", self._run, "--log-path", f"k8s-file:{workspace.state}/bare.log",
        ]  # fmt: skip
        os.makedirs(f"{self._run}/exits", exist_ok=True)

    def round(self, lap: Lap) -> None:
        if self._cgroup:
            mine, lap = lap, Lap()
            with mine("create + start", PLACED):
                self._create_and_start(lap)
        else:
            with lap("create + start", NAME):
                self._create_and_start(lap)
        self._end(lap)

    def _create_and_start(self, lap: Lap) -> None:
        with lap("create + start", CREATE):
            self._pid = self._create()
        with lap("create + start", START):
            subprocess.run([*self._runtime, "start", NAME], check=True, stdin=subprocess.DEVNULL)

    def _end(self, lap: Lap) -> None:
        with open(f"{self._run}/conmon.pid", encoding="ascii") as stream:
            monitor = os.pidfd_open(int(stream.read()))
        try:
            with lap("stop by SIGKILL", NAME):
                os.kill(self._pid, signal.SIGKILL)
                select.select([monitor], [], [])
        finally:
            os.close(monitor)
        with lap("remove", NAME):
            subprocess.run([*self._runtime, "delete", NAME], check=True, stdin=subprocess.DEVNULL)

    def _create(self) -> int:
        mine, theirs = os.pipe()
        held, start = os.pipe()
        inherited, environment = [theirs], {"PATH": os.environ["PATH"], "_OCI_SYNCPIPE": str(theirs)}
        if self._cgroup:
            inherited.append(held)
            environment["_OCI_STARTPIPE"] = str(held)
        try:
            conmon = subprocess.Popen(
                self._argv, pass_fds=inherited, env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if self._cgroup:
                cgroup.place(self._cgroup, conmon.pid)
                os.write(start, b"x")
        finally:
            for descriptor in (theirs, held, start):
                os.close(descriptor)
        with open(mine, encoding="utf-8") as stream:
            report = json.loads(stream.readline() or '{"data": -1}')
        conmon.wait()
        if report["data"] <= 0:
            raise SystemExit(f"lifecycle: the bare commands could not create a container: {report.get('message')}")
        return int(report["data"])
