# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The integration targets over ssh, on real hosts with systemd: once for each kind of host, runtime and user.

The very same roles as ansible-test runs on this machine, from the inventory that bin/hosts writes. ansible-test has no
option for a host that it has not made itself, and cannot say which user and runtime to take.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence

from . import compatibility, processes
from .report import Report
from .workspace import Workspace

# What runs without a word about hosts: enough for every change, in a few minutes.
DEFAULT_KINDS = ("trixie",)
RUNTIMES = ("crun", "runc")
USERS = ("root", "app")


def run(workspace: Workspace, report: Report, arguments: list[str]) -> None:
    """``arguments``: kinds of hosts separated by commas, or ``all``, or nothing; then names of targets.

    Everything on all kinds is the matrix, and that is written down in the checkout.
    """
    tree = workspace.tree()
    env = {**workspace.environment(tree), "LONGSHORE_HOSTS_STATE_DIR": os.path.join(workspace.directory, "hosts")}
    kinds = _kinds(tree, arguments[0] if arguments else "")
    targets = arguments[1:] or list(_targets(tree))
    rows: list[compatibility.Row] = []
    try:
        for kind in kinds:
            made = _hosts(tree, env, "up", "--kind", kind)
            if made.status != 0:
                report.add(f"{kind}: host", failed=1, seconds=made.seconds, output=made.output)
                continue
            rows += _one_kind(tree, env, report, kind, targets)
    finally:
        ended = _hosts(tree, env, "down")
        if ended.status != 0:
            report.add("hosts down", failed=1, output=ended.output)
    if arguments == ["all"]:
        compatibility.write(os.path.join(workspace.checkout, "docs", "compatibility.md"), rows)


def _one_kind(
    tree: str, env: dict[str, str], report: Report, kind: str, targets: Sequence[str]
) -> Iterator[compatibility.Row]:
    listed = _hosts(tree, env, "list", "--json")
    versions = next(host for host in json.loads(listed.output) if host["kind"] == kind)
    for user in USERS:
        for runtime in RUNTIMES:
            for target in targets:
                outcome = _play(tree, env, kind, user, runtime, target)
                failed = int(outcome.status != 0)
                name = f"{target} ({kind}, {runtime}, {user})"
                report.add(name, passed=1 - failed, failed=failed, seconds=outcome.seconds, output=outcome.output)
                yield compatibility.Row(kind, versions, runtime, user, target, "failed" if failed else "passed")


def _play(tree: str, env: dict[str, str], kind: str, user: str, runtime: str, target: str) -> processes.Outcome:
    """One target as a play of its own, as ansible-test does it."""
    play = [
        {
            "name": target,
            "hosts": kind,
            "remote_user": user,
            "roles": [target],
            "vars": {"setup_bundle_runtimes": [runtime]},
        }
    ]
    directory = os.path.join(tree, "tests", "integration")
    playbook = os.path.join(directory, f"{target}-{kind}.yml")
    with open(playbook, "w", encoding="utf-8") as stream:
        json.dump(play, stream)  # JSON is YAML
    inventory = os.path.join(env["LONGSHORE_HOSTS_STATE_DIR"], "inventory.yml")
    roles = {"ANSIBLE_ROLES_PATH": os.path.join(directory, "targets")}
    return processes.run(["ansible-playbook", "-i", inventory, playbook], cwd=directory, env={**env, **roles})


def _kinds(tree: str, wanted: str) -> list[str]:
    if wanted == "all":
        listed = processes.run(
            [sys.executable, "-c", "from hosts.kinds import KINDS; print(*KINDS)"],
            cwd=os.path.join(tree, "tests"),
            env=dict(os.environ),
        )
        return listed.output.split()
    return wanted.split(",") if wanted else list(DEFAULT_KINDS)


def _targets(tree: str) -> Iterator[str]:
    """Those that a host can be given: not the helpers of others, and not what needs the machine that runs the tests."""
    top = os.path.join(tree, "tests", "integration", "targets")
    for name in sorted(os.listdir(top)):
        aliases = os.path.join(top, name, "aliases")
        with open(aliases, encoding="utf-8") as stream:
            words = stream.read().split()
        if "hidden" not in words and "only/local" not in words:
            yield name


def _hosts(tree: str, env: dict[str, str], *words: str) -> processes.Outcome:
    return processes.run([os.path.join(tree, "bin", "hosts"), *words], cwd=tree, env=env)
