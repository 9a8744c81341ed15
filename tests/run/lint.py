# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The linters, each of which counts as one test."""

from __future__ import annotations

import os
import re
import time

from . import artefact, changelog, language, links, processes
from .report import Part
from .workspace import Workspace, collections_path

# Messages of a linter that come by chance. The page of a module names the temporary directory of antsibull-docs, and a word that ends in "_" is
# a link there.
_BY_CHANCE = {"antsibull-docs": 'Unknown target name: "antsibull-docs-'}


def run(workspace: Workspace, report: Part, arguments: list[str]) -> None:
    tree = workspace.tree()
    # Of ansible-lint's loader, which takes a key beside a merged one ("<<") for a duplicate: each warns once a load. A key that
    # is there twice is found by the rule yaml[key-duplicates].
    env = {**workspace.environment(tree), "ANSIBLE_DUPLICATE_YAML_DICT_KEY": "ignore"}
    linters = _linters(workspace, tree)
    unknown = set(arguments) - {*linters, *_CHECKS}
    if unknown:
        known = ", ".join([*linters, *_CHECKS])
        report.add("lint", failed=1, output=f"no such linter: {', '.join(sorted(unknown))}\nthere are: {known}")
        return
    for name, (argv, cwd) in linters.items():
        if not arguments or name in arguments:
            outcome = processes.run(argv, cwd=cwd, env=env)
            if name in _BY_CHANCE and _BY_CHANCE[name] in outcome.output:
                outcome = processes.run(argv, cwd=cwd, env=env)
            failed = int(outcome.status != 0)
            report.add(name, passed=1 - failed, failed=failed, seconds=outcome.seconds, output=outcome.output)
    for name, check in _CHECKS.items():
        if not arguments or name in arguments:
            check(workspace, report, tree)


def _linters(workspace: Workspace, tree: str) -> dict[str, tuple[list[str], str]]:
    """For each linter its command and the directory to run it in."""
    above = collections_path(tree)
    inside = os.path.relpath(tree, above)
    # mypy has to start above ansible_collections: where it starts it also looks for modules, and each file of the
    # collection would get two names.
    typed = [os.path.join(inside, name) for name in ("plugins", "tests", "benchmarks") if _has_python(tree, name)]
    mypy_cache = os.path.join(workspace.cache, "mypy")
    return {
        "ruff": (["ruff", "check", "."], tree),
        "ruff-format": (["ruff", "format", "--check", "--diff", "."], tree),
        "mypy": (["mypy", "--config-file", os.path.join(inside, "mypy.ini"), "--cache-dir", mypy_cache, *typed], above),
        "ansible-lint": (["ansible-lint", "--offline", "--nocolor", "-c", ".ansible-lint.yml"], tree),
        "shellcheck": (["shellcheck", "--color=never", "--external-sources", *_shell_scripts(tree)], tree),
        "reuse": (["reuse", "lint"], tree),
        "antsibull-changelog": (["antsibull-changelog", "lint"], tree),
        "antsibull-docs": (
            [
                "antsibull-docs", "lint-collection-docs", "--plugin-docs",
                "--validate-collection-refs=self", "--disallow-unknown-collection-refs", ".",
            ],
            tree,
        ),
    }  # fmt: skip


def _has_python(tree: str, directory: str) -> bool:
    return any(path.endswith(".py") for path in _files(tree, directory))


def _shell_scripts(tree: str) -> list[str]:
    scripts = []
    for path in _files(tree):
        with open(os.path.join(tree, path), "rb") as file:
            first_line = file.readline()
        if path.endswith(".sh") or re.match(rb"#!\s*/(usr/)?bin/(env )?(ba|da)?sh\b", first_line):
            scripts.append(path)
    return scripts


def _check_open_points(_workspace: Workspace, report: Part, tree: str) -> None:
    """Find notes about work to be done: these belong in an issue, not in the collection."""
    started = time.monotonic()
    # Written so that this file does not match.
    pattern = re.compile(rb"\b(TO[D]O|FIX[M]E)\b")
    found = []
    for path in _files(tree, "bin", "plugins", "roles"):
        with open(os.path.join(tree, path), "rb") as file:
            found += [
                f"{path}:{number}: {line.decode('utf-8', 'replace').strip()}"
                for number, line in enumerate(file, 1)
                if pattern.search(line)
            ]
    _report(report, "open-points", started, found)


def _check_language(_workspace: Workspace, report: Part, tree: str) -> None:
    """Find the banned words in the texts of the collection."""
    started = time.monotonic()
    _report(report, "language", started, language.check(tree, _files(tree)))


def _report(report: Part, name: str, started: float, found: list[str]) -> None:
    seconds = time.monotonic() - started
    report.add(name, passed=int(not found), failed=int(bool(found)), seconds=seconds, output="\n".join(found))


def _files(tree: str, *directories: str) -> list[str]:
    """The regular files of the tree, or of some of its directories, as relative paths."""
    found = []
    for directory in directories or ("",):
        for parent, children, names in os.walk(os.path.join(tree, directory)):
            if ".git" in children:
                children.remove(".git")
            paths = (os.path.join(parent, name) for name in names)
            found += [
                os.path.relpath(path, tree) for path in paths if os.path.isfile(path) and not os.path.islink(path)
            ]
    return sorted(found)


# Checks of our own.
_CHECKS = {
    "build": artefact.check,
    "changelog": lambda workspace, report, _tree: changelog.check(workspace, report),
    "language": _check_language,
    "links": links.check,
    "open-points": _check_open_points,
}
