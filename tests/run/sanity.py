# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The sanity tests of ansible-test, each of which counts as one test, on however many Pythons it runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator

from . import interpreters, pip_bootstrap, processes
from .report import Part
from .workspace import Workspace


def run(workspace: Workspace, report: Part, arguments: list[str]) -> None:
    # ansible-test takes every file below bin/ for Python, and wants no shebang in a Python program. The lint part looks
    # after them.
    tree = workspace.tree(leave_out=["bin/", "benchmarks/lifecycle", "benchmarks/exec", "benchmarks/migrate"])
    env = workspace.environment(tree)
    follower = _Follower(report)
    with _only_run(workspace):
        lock = os.path.join(workspace.checkout, "bin", "requirements-pip-lock.txt")
        pip_bootstrap.prepare(workspace.home, env, lock)
        command = ["ansible-test", "sanity", "--local", "--color", "no"]
        outcome = processes.run([*command, *arguments], cwd=tree, env=env, on_line=follower.line)
    follower.finish()
    if outcome.status != 0 and not follower.failures:
        report.add("ansible-test", failed=1, seconds=outcome.seconds, output=outcome.output)
    if not arguments:
        listed = processes.run(["ansible-test", "sanity", "--list-tests"], cwd=tree, env=env)
        for name in sorted(set(re.findall(r"^[a-z][a-z0-9-]*$", listed.output, re.MULTILINE)) - follower.seen):
            report.add(name, failed=1, output="did not run")


@contextlib.contextmanager
def _only_run(workspace: Workspace) -> Iterator[None]:
    """Keeps two runs from building the virtual environments of ansible-test at the same time."""
    with open(os.path.join(workspace.cache, "sanity.lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for the sanity tests of another run", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _Follower:
    """Reports each sanity test as soon as the next one starts."""

    def __init__(self, report: Part) -> None:
        self.seen: set[str] = set()
        self.failures = 0
        self._report = report
        self._usable = interpreters.working()
        self._name = ""
        self._pythons: list[str] = []
        self._lines: list[str] = []
        self._started = 0.0

    def line(self, line: str) -> None:
        started = re.match(r'Running sanity test "([^"]+)"(?: on Python ([0-9.]+))?', line)
        if not started:
            self._lines.append(line)
            return
        name, python = started.groups()
        if name != self._name:
            self.finish()
            self._name = name
            self._pythons = []
            self._lines = []
            self._started = time.monotonic()
        # A Python that the modules do not support is named too, although nothing is then tested on it.
        if python in self._usable:
            self._pythons.append(python)

    def finish(self) -> None:
        if not self._name:
            return
        self.seen.add(self._name)
        errors = [line for line in self._lines if line.startswith("ERROR: ")]
        # A test that breaks ends the run with FATAL. The summary at the end starts with it too, and tells nothing new.
        fatal = any(line.startswith("FATAL: ") and "listed below" not in line for line in self._lines)
        failed = int(bool(errors) or fatal)
        self.failures += failed
        output = "\n".join(self._lines if fatal else errors)
        seconds = time.monotonic() - self._started
        detail = f"on Python {', '.join(self._pythons)}" if self._pythons else ""
        self._report.add(self._name, passed=1 - failed, failed=failed, seconds=seconds, detail=detail, output=output)
        self._name = ""
