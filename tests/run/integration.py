# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The integration targets, each of which counts as one test and runs on this very machine."""

from __future__ import annotations

import re

from . import processes
from .hosts import TIMED
from .report import Part
from .workspace import Workspace

# The targets with this prefix take as long as all others. They run beside those: every target has directories and names of its
# own, and those that make networks of the host are all among the others.
_BESIDE = "oci_container"


def run(workspace: Workspace, report: Part, arguments: list[str]) -> None:
    # The targets need root and start containers, which ansible-test has to be told twice.
    command = [
        "ansible-test", "integration", "--local", "--python", workspace.python_version, "--color", "no",
        "--allow-destructive", "--allow-root",
    ]  # fmt: skip
    tree = workspace.tree()
    listed = processes.run([*command, "--list-targets"], cwd=tree, env=workspace.environment(tree))
    if listed.status != 0:
        report.add("list of targets", failed=1, output=listed.output)
        return
    targets = [line for line in listed.output.splitlines() if re.fullmatch(r"[a-z][a-z0-9_]*", line)]
    # A word that names no target is an option, or the value of one.
    chosen = [argument for argument in arguments if argument in targets] or targets
    options = [argument for argument in arguments if argument not in targets]

    def one_after_the_other(names: list[str]) -> None:
        # A copy for each: ansible-test writes into the one that it works in.
        place = workspace.tree()
        env = workspace.environment(place)
        # One at a time: each gets its own line, and one that fails does not keep the others from running.
        for target in names:
            outcome = processes.run([*command, *options, target], cwd=place, env=env)
            failed = int(outcome.status != 0)
            report.add(target, passed=1 - failed, failed=failed, seconds=outcome.seconds, output=outcome.output)

    # Targets that are held to a time come last: lint, which computes, has done by then.
    chosen.sort(key=lambda target: target in TIMED)
    beside = [target for target in chosen if target.startswith(_BESIDE)]
    others = [target for target in chosen if target not in beside]
    processes.side_by_side(one_after_the_other, [names for names in (beside, others) if names])
