# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The unit tests, with pytest alone: no Ansible process starts.

As root the pure ones run once more as another user, with a PATH that has no program: they are for everybody who has a clone.
"""

from __future__ import annotations

import os
import shutil
import sys
from xml.etree import ElementTree

from . import processes
from .report import Part
from .workspace import Workspace

# Any user that owns nothing. What it keeps of root is to read files: the environment may lie in the home directory of root.
_NOBODY = 65534
_KEPT = "-all,+dac_read_search"
_AS_NOBODY = (
    shutil.which("setpriv") or "setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--no-new-privs",
    f"--inh-caps={_KEPT}", f"--ambient-caps={_KEPT}", f"--bounding-set={_KEPT}",
)  # fmt: skip


def run(workspace: Workspace, report: Part, arguments: list[str]) -> None:
    tree = workspace.tree()
    _run(report, "pytest", workspace.directory, tree, workspace.environment(tree), arguments)
    if os.geteuid() == 0 and not arguments:
        theirs = os.path.join(workspace.directory, "nobody")
        for path in (theirs, os.path.join(theirs, "bin")):
            os.mkdir(path)
            os.chown(path, _NOBODY, _NOBODY)
        env = {**workspace.environment(tree), "HOME": theirs, "TMPDIR": theirs, "PATH": os.path.join(theirs, "bin")}
        _run(report, "pytest --pure as nobody", theirs, tree, env, ["--pure"], prefix=_AS_NOBODY)


def _run(
    report: Part, name: str, directory: str, tree: str, env: dict[str, str], arguments: list[str], prefix: tuple[str, ...] = ()
) -> None:  # fmt: skip
    results = os.path.join(directory, "pytest.xml")
    # importlib: test files of the same name may stand in several directories.
    # A place of its own, with a short path for sockets: what is left of other runs in a shared one may be too deep for pytest.
    temporary = os.path.join(directory, "p")
    command = [
        *prefix, sys.executable, "-m", "pytest", f"--basetemp={temporary}",
        "--quiet", "--color=no", "--import-mode=importlib", "-p", "no:cacheprovider", f"--junitxml={results}",
    ]  # fmt: skip
    # Arguments are options and their values, or the tests to run, like tests/unit/test_a.py::test_b.
    if not any(os.path.exists(os.path.join(tree, argument.partition("::")[0])) for argument in arguments):
        command.append("tests/unit")
    outcome = processes.run([*command, *arguments], cwd=tree, env=env)
    passed, failed, skipped = _count(results)
    if outcome.status != 0 and not failed:
        failed = 1
    detail = f"{passed} passed, {failed} failed, {skipped} skipped"
    if passed + failed:
        report.add(name, passed=passed, failed=failed, seconds=outcome.seconds, detail=detail, output=outcome.output)


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
