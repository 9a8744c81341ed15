# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The unit tests, with pytest alone: no Ansible process starts."""

from __future__ import annotations

import os
import sys
from xml.etree import ElementTree

from . import processes
from .report import Part
from .workspace import Workspace


def run(workspace: Workspace, report: Part, arguments: list[str]) -> None:
    tree = workspace.tree()
    results = os.path.join(workspace.directory, "pytest.xml")
    # importlib: test files of the same name may stand in several directories.
    # A place of its own, with a short path for sockets: what is left of other runs in a shared one may be too deep for pytest.
    temporary = os.path.join(workspace.directory, "p")
    command = [
        sys.executable, "-m", "pytest", f"--basetemp={temporary}",
        "--quiet", "--color=no", "--import-mode=importlib", "-p", "no:cacheprovider", f"--junitxml={results}",
    ]  # fmt: skip
    # Arguments are options and their values, or the tests to run, like tests/unit/test_a.py::test_b.
    if not any(os.path.exists(os.path.join(tree, argument.partition("::")[0])) for argument in arguments):
        command.append("tests/unit")
    outcome = processes.run([*command, *arguments], cwd=tree, env=workspace.environment(tree))
    passed, failed, skipped = _count(results)
    if outcome.status != 0 and not failed:
        failed = 1
    detail = f"{passed} passed, {failed} failed, {skipped} skipped"
    if passed + failed:
        report.add(
            "pytest", passed=passed, failed=failed, seconds=outcome.seconds, detail=detail, output=outcome.output
        )


def _count(results: str) -> tuple[int, int, int]:
    """Passed, failed and skipped tests in a JUnit file. A test whose clean-up fails is listed twice: it failed."""
    outcomes: dict[tuple[str, str], str] = {}
    if os.path.exists(results):
        for case in ElementTree.parse(results).iter("testcase"):
            test = (case.get("classname", ""), case.get("name", ""))
            children = {child.tag for child in case}
            if children & {"failure", "error"}:
                outcomes[test] = "failed"
            else:
                outcomes.setdefault(test, "skipped" if "skipped" in children else "passed")
    counted = list(outcomes.values())
    return counted.count("passed"), counted.count("failed"), counted.count("skipped")
