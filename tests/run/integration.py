# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The integration targets, each of which counts as one test and runs on this very machine."""

from __future__ import annotations

import re

from . import processes
from .report import Part
from .workspace import Workspace


def run(workspace: Workspace, report: Part, arguments: list[str]) -> None:
    tree = workspace.tree()
    env = workspace.environment(tree)
    # The targets need root and start containers, which ansible-test has to be told twice.
    command = [
        "ansible-test", "integration", "--local", "--python", workspace.python_version, "--color", "no",
        "--allow-destructive", "--allow-root",
    ]  # fmt: skip
    listed = processes.run([*command, "--list-targets"], cwd=tree, env=env)
    if listed.status != 0:
        report.add("list of targets", failed=1, output=listed.output)
        return
    targets = [line for line in listed.output.splitlines() if re.fullmatch(r"[a-z][a-z0-9_]*", line)]
    # What names no target is an option, or the value of one.
    chosen = [argument for argument in arguments if argument in targets]
    options = [argument for argument in arguments if argument not in targets]
    # One at a time: each gets its own line, and one that fails does not keep the others from running.
    for target in chosen or targets:
        outcome = processes.run([*command, *options, target], cwd=tree, env=env)
        failed = int(outcome.status != 0)
        report.add(target, passed=1 - failed, failed=failed, seconds=outcome.seconds, output=outcome.output)
