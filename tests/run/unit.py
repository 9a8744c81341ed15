# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The unit tests, with pytest alone: no Ansible process starts.

As root the pure ones run once more as another user, with a PATH that has no program: they are for everybody who has a clone.
"""

from __future__ import annotations

import collections
import glob
import os
import re
import shutil
import sys
from collections.abc import Callable
from xml.etree import ElementTree

from . import processes
from .report import Part
from .workspace import Workspace

# Any user that owns nothing. It keeps of root the right to read files: the environment may lie in the home directory of root.
_NOBODY = 65534
_KEPT = "-all,+dac_read_search"
_AS_NOBODY = (
    shutil.which("setpriv") or "setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--no-new-privs",
    f"--inh-caps={_KEPT}", f"--ambient-caps={_KEPT}", f"--bounding-set={_KEPT}",
)  # fmt: skip


_HERE = "tests/unit/plugins/module_utils"
# Tests that wait for the kernel or for containers: beside one another and beside what computes, two cores have room for all. Only
# what holds the engine to a time runs before what computes, beside the networks. The networks are in network namespaces of their
# own, and the containers of each test in directories and cgroups of its own.
_NETWORKS = tuple(f"{_HERE}/{name}" for name in ("_network", "_netlink"))
_CONTAINERS = tuple(
    f"{_HERE}/{name}" for name in ("_checkpoint", "_conmon", "_container", "_exec", "_lifecycle", "_service", "_state")
)


# No test asks what was logged, and each would be prepared for it; nor do pure tests leave threads. Whatever is left behind is
# seen when all unit tests run.
_LEFT_OUT = ("-p", "no:logging", "-p", "no:threadexception", "-p", "no:unraisableexception")
# Otherwise pytest compiles each assertion so that it tells its values, which is a fifth of the whole time, and makes an item of
# each case of a test.
_QUICK = ("--assert=plain", "--tables")
# tests/unit/sources.py. They look at all sources, and take far longer than others of their size.
_SHARES_WHAT_IT_READS = re.compile(r"^from .* import .*\bsources$", re.MULTILINE)
_LONGER = 7
# More would only wait for their imports.
_MOST_SHARES = 4


def run(workspace: Workspace, report: Part, arguments: list[str]) -> None:
    tree = workspace.tree()
    env = workspace.environment(tree)
    if arguments == ["--pure"]:
        _run_pure(workspace, report, tree, env)
        return
    if arguments:
        _run(report, "pytest", _place(workspace, "t"), tree, env, arguments)
        return

    def networks() -> None:
        _run(report, "pytest of networks", _place(workspace, "n"), tree, env, list(_NETWORKS))
        if os.geteuid() == 0:
            _run_as_nobody(workspace, report, tree, env)

    def containers() -> None:
        _run(report, "pytest of containers", _place(workspace, "c"), tree, env, ["--timed=never", *_CONTAINERS])

    def others() -> None:
        # By exception, so that a new directory is tested.
        ignored = [f"--ignore={path}" for path in (*_NETWORKS, *_CONTAINERS)]
        _run(report, "pytest", _place(workspace, "t"), tree, env, ["--timed=never", *ignored])

    def timed_then_others() -> None:
        ignored = [f"--ignore={path}" for path in _NETWORKS]
        _run(report, "pytest of times", _place(workspace, "s"), tree, env, ["--timed=only", *ignored])
        _side_by_side(containers, others)

    _side_by_side(networks, timed_then_others)


def _side_by_side(*functions: Callable[[], None]) -> None:
    processes.side_by_side(lambda function: function(), functions)


def _run_pure(workspace: Workspace, report: Part, tree: str, env: dict[str, str]) -> None:
    """Run them in as many processes as there are cores: they share nothing, and need nothing but time."""
    shares = _shares(_pure_files(tree), os.cpu_count() or 1)

    def run_share(number: int) -> None:
        name = f"pytest --pure, {number + 1} of {len(shares)}"
        words = ["--pure", *_LEFT_OUT, *shares[number]]
        _run(report, name, _place(workspace, f"s{number}"), tree, env, words, quick=_QUICK)

    processes.side_by_side(run_share, range(len(shares)))


def _pure_files(tree: str) -> dict[tuple[str, ...], int]:
    """Return the test files with pure tests, those together that share what they have read, and their size."""
    found: dict[tuple[str, ...], int] = {}
    together, size = [], 0
    for path in glob.glob("tests/unit/**/test_*.py", root_dir=tree, recursive=True):
        with open(os.path.join(tree, path), encoding="utf-8") as stream:
            text = stream.read()
        if "pytest.mark.pure" in text and _SHARES_WHAT_IT_READS.search(text):
            together.append(path)
            size += _LONGER * len(text)
        elif "pytest.mark.pure" in text:
            found[path,] = len(text)
    return {**found, tuple(sorted(together)): size}


def _shares(sizes: dict[tuple[str, ...], int], number: int) -> list[list[str]]:
    """Deal the files out, each to the share that is smallest so far."""
    shares: list[list[tuple[str, ...]]] = [[] for _each in range(min(number, _MOST_SHARES))]
    for paths in sorted(sizes, key=lambda paths: (-sizes[paths], paths)):
        min(shares, key=lambda share: sum(sizes[each] for each in share)).append(paths)
    return [[path for paths in share for path in paths] for share in shares]


def _place(workspace: Workspace, name: str) -> str:
    path = os.path.join(workspace.directory, name)
    os.mkdir(path)
    return path


def _run_as_nobody(workspace: Workspace, report: Part, tree: str, env: dict[str, str]) -> None:
    directory = _place(workspace, "o")
    empty = os.path.join(directory, "bin")
    os.mkdir(empty)
    os.chown(directory, _NOBODY, _NOBODY)
    theirs = {**env, "HOME": directory, "TMPDIR": directory, "PATH": empty}
    _run(report, "pytest --pure as the user nobody", directory, tree, theirs, ["--pure"], prefix=_AS_NOBODY)


def _run(
    report: Part, name: str, directory: str, tree: str, env: dict[str, str], arguments: list[str], prefix: tuple[str, ...] = (),
    quick: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """With ``quick`` options, what fails runs once more without them, to tell why."""
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
    outcome = first = processes.run([*command, *quick, *arguments], cwd=tree, env=env)
    if quick and first.status != 0:
        outcome = processes.run([*command, *arguments], cwd=tree, env=env)
    passed, failed, skipped = count(results)
    if first.status != 0 and not failed:
        failed = 1
    detail = f"{passed} passed, {failed} failed, {skipped} skipped"
    if passed + failed:
        report.add(name, passed=passed, failed=failed, seconds=outcome.seconds, detail=detail, output=outcome.output)


def count(results: str) -> tuple[int, int, int]:
    """Passed, failed and skipped tests in a JUnit file. A test whose clean-up fails is listed twice: it failed.

    Each case counts, also where all cases of a test were run as one.
    """
    outcomes: dict[tuple[str, str], str] = {}
    cases: dict[tuple[str, str], int] = {}
    if os.path.exists(results):
        for case in ElementTree.parse(results).iter("testcase"):
            test = (case.get("classname", ""), case.get("name", ""))
            cases[test] = _cases(case)
            children = {child.tag for child in case}
            if children & {"failure", "error"}:
                outcomes[test] = "failed"
            else:
                outcomes.setdefault(test, "skipped" if "skipped" in children else "passed")
    counted = collections.Counter({"passed": 0, "failed": 0, "skipped": 0})
    for test, outcome in outcomes.items():
        counted[outcome] += 1 if outcome == "failed" else cases[test]
    return counted["passed"], counted["failed"], counted["skipped"]


def _cases(case: ElementTree.Element) -> int:
    known = case.find("properties/property[@name='cases']")
    return 1 if known is None else int(known.get("value", 1))
