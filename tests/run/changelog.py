# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""CHANGELOG.md as the next release would write it, from the fragments. bin/changelog calls this."""

from __future__ import annotations

import argparse
import difflib
import os
import sys

import yaml  # type: ignore[import-untyped]

from . import processes
from .report import Part
from .workspace import Workspace

NAME = "CHANGELOG.md"


def check(workspace: Workspace, report: Part) -> None:
    """Count one test: CHANGELOG.md of the checkout is what the fragments say."""
    outcome, expected = _generate(workspace)
    found = _text(os.path.join(workspace.checkout, NAME))
    output = outcome.output
    if not outcome.status and found != expected:
        lines = difflib.unified_diff(found.splitlines(), expected.splitlines(), NAME, "fragments", n=0, lineterm="")
        output = "\n".join([f"{NAME} is not what changelogs/fragments say. Run bin/changelog.", *lines])
    failed = int(bool(outcome.status) or found != expected)
    report.add("changelog", passed=1 - failed, failed=failed, seconds=outcome.seconds, output=output)


def _generate(workspace: Workspace) -> tuple[processes.Outcome, str]:
    """Return how antsibull-changelog ended, and the CHANGELOG.md that it wrote in a copy of the checkout.

    The version of galaxy.yml is released there: the fragments of the checkout stay, and no date is in the text. When
    that version has been released already and no fragment is new, its CHANGELOG.md is written again.
    """
    tree = workspace.tree()
    changelogs = os.path.join(tree, "changelogs")
    version = yaml.safe_load(_text(os.path.join(tree, "galaxy.yml")))["version"]
    released = yaml.safe_load(_text(os.path.join(changelogs, "changelog.yaml")))["releases"]
    fragments = os.path.join(changelogs, "fragments")
    pending = os.path.isdir(fragments) and any(name.endswith((".yml", ".yaml")) for name in os.listdir(fragments))
    command = "generate" if version in released and not pending else "release"
    outcome = processes.run(["antsibull-changelog", command], cwd=tree, env=workspace.environment(tree))
    return outcome, _text(os.path.join(tree, NAME))


def _text(path: str) -> str:
    """Return the text of a file, or nothing where there is no such file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def main(arguments: list[str]) -> int:
    """Write CHANGELOG.md into the checkout; return the exit status."""
    parser = argparse.ArgumentParser(prog="bin/changelog")
    parser.add_argument("--root", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--cache", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with Workspace(options.root, options.cache) as workspace:
        outcome, text = _generate(workspace)
    if outcome.status:
        print(outcome.output, file=sys.stderr)
        return 1
    with open(os.path.join(options.root, NAME), "w", encoding="utf-8") as stream:
        stream.write(text)
    return 0
