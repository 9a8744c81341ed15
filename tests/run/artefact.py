# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The collection that ansible-galaxy builds: that it builds, and that it holds what users need and nothing else."""

from __future__ import annotations

import glob
import os
import subprocess
import tarfile

import yaml  # type: ignore[import-untyped]

from . import processes
from .report import Part
from .workspace import Workspace, collections_path

# The entries at the top of the built collection, and in those of its directories that are shipped in part.
_SHIPPED = {
    "": {
        "CHANGELOG.md", "COPYING", "FILES.json", "LICENSES", "MANIFEST.json", "README.md", "SECURITY.md",
        "changelogs", "docs", "meta", "playbooks", "plugins", "roles", "tests",
    },
    "changelogs": {"changelog.yaml", "config.yaml"},
    "docs": {"coming_from.md", "compatibility.md", "design.md", "docsite", "testing.md"},
    "plugins": {"doc_fragments", "module_utils", "modules"},
    "tests": {"config.yml"},
}  # fmt: skip


def check(workspace: Workspace, report: Part, tree: str) -> None:
    """Count two tests: the collection builds with the files it should have, and build_ignore has no needless name."""
    dist = os.path.join(collections_path(tree), "dist")
    env = workspace.environment(tree)
    outcome = processes.run(["ansible-galaxy", "collection", "build", "--output-path", dist], cwd=tree, env=env)
    output = outcome.output if outcome.status else "\n".join(_wrong_members(dist))
    report.add("build", passed=int(not output), failed=int(bool(output)), seconds=outcome.seconds, output=output)
    needless = "\n".join(_needless(tree, env))
    report.add("build_ignore", passed=int(not needless), failed=int(bool(needless)), output=needless)


def _wrong_members(dist: str) -> list[str]:
    """Return a sentence for each place of the built collection with too much or too little in it."""
    (path,) = glob.glob(os.path.join(dist, "*.tar.gz"))
    with tarfile.open(path) as archive:
        members = [name.removeprefix("./").split("/") for name in archive.getnames()]
    wrong = []
    for place, expected in _SHIPPED.items():
        above = place.split("/") if place else []
        depth = len(above)
        found = {parts[depth] for parts in members if parts[:depth] == above and len(parts) > depth} - {""}
        wrong += [
            f"The built collection has {os.path.join(place, name)}. Add it to build_ignore in galaxy.yml, or, when users "
            "need it, to tests/run/artefact.py."
            for name in sorted(found - expected)
        ]
        wrong += [f"The built collection lacks {os.path.join(place, name)}." for name in sorted(expected - found)]
    return wrong


def _needless(tree: str, env: dict[str, str]) -> list[str]:
    """Return a sentence for each name in build_ignore that is neither in the tree nor in .gitignore."""
    with open(os.path.join(tree, "galaxy.yml"), encoding="utf-8") as stream:
        names = yaml.safe_load(stream)["build_ignore"]
    return [
        f"{name}, in build_ignore of galaxy.yml, does not exist, and .gitignore does not name it either."
        for name in names
        if not os.path.lexists(os.path.join(tree, name)) and not _is_ignored(name.replace("*", "x"), tree, env)
    ]


def _is_ignored(path: str, tree: str, env: dict[str, str]) -> bool:
    # As a file, and as a directory with something in it.
    command = ["git", "check-ignore", path, os.path.join(path, "x")]
    return subprocess.run(command, cwd=tree, env=env, stdout=subprocess.DEVNULL, check=False).returncode == 0
