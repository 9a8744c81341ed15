# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The integration targets over ssh, on real hosts with systemd: once for each kind of host, runtime and user.

The very same roles as ansible-test runs on this machine, from the inventory that bin/hosts writes: ansible-test has no option
for a host that it has not made itself, and cannot say which user and runtime to take. Then the scenarios of
tests/hosts/scenarios, for what a play alone cannot do: end a session, cut the power. At the end a short campaign of kills.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import sys
from collections.abc import Mapping

from . import compatibility, processes
from .report import Part
from .workspace import Workspace

# What runs without a word about hosts.
DEFAULT_KINDS = ("trixie",)
RUNTIMES = ("crun", "runc")
# The hosts of a kind, with the user and the runtimes that each is for. All are at work at the same time. The first has the least
# to do, so what takes two hosts, and must have them to itself, is done by it and the second after that.
_HOSTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("root", ("runc",)), ("root", ()), ("root", ("crun",)), ("app", ("crun", "runc")),
)  # fmt: skip
# What needs root stays with root: making cgroups and slices by hand, counting the programs that a task starts (ptrace),
# installing packages.
_UNPRIVILEGED_TESTS = (
    "states", "definition", "service", "network_helper", "stop_settings", "stop", "exits", "logs", "launch_options", "sdnotify",
    "environment", "reserve_ports", "listen", "bad_input",
    "failed_create", "lost", "killed_run", "concurrency",
)  # fmt: skip
# By name, with the variables that choose from its tests.
_Targets = Mapping[str, dict[str, object]]
TARGETS: Mapping[str, _Targets] = {
    "root": {
        "oci_container": {}, "oci_container_info": {}, "oci_exec": {}, "oci_checkpoint": {}, "oci_bundle": {}, "oci_network": {},
        "hostile": {}, "examples": {}, "role_runtime": {}, "role_container": {},
    },
    "app": {
        "oci_container": {"oci_container_tests": list(_UNPRIVILEGED_TESTS)}, "oci_container_info": {}, "oci_exec": {},
        "oci_checkpoint": {}, "oci_bundle": {"oci_bundle_tests": ["registry", "unprivileged", "hostile"]},
        "oci_network": {"oci_network_tests": ["unprivileged"]}, "hostile": {}, "role_container": {},
    },
}  # fmt: skip
# What a run without a word about hosts does of it: all of it has run on this machine by then, and it shall not take long.
_STATES: _Targets = {
    "oci_container": {"oci_container_tests": ["states"]},
    "oci_exec": {"oci_exec_tests": ["command", "streams"]},
}
_CHECKPOINT: _Targets = {"oci_checkpoint": {"oci_checkpoint_tests": ["states", "by_container"]}}
_BRIEF: Mapping[tuple[str, str], _Targets] = {
    ("root", "crun"): {
        **_STATES, **_CHECKPOINT, "oci_container_info": {}, "oci_bundle": {"oci_bundle_tests": ["registry", "userns"]},
        "oci_network": {"oci_network_tests": ["states", "info", "containers"]},
        "examples": {}, "role_runtime": {}, "role_container": {},
        "oci_container": {"oci_container_tests": ["states", "service"]},
    },
    ("root", "runc"): {**_STATES, **_CHECKPOINT},
    ("app", "crun"): {**_STATES, "oci_exec": {}, "oci_checkpoint": {}, "oci_bundle": TARGETS["app"]["oci_bundle"]},
    ("app", "runc"): _STATES,
}  # fmt: skip
# Playbooks, with commands of bin/hosts between them.
SCENARIOS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "root": {
        "reboot": ("reboot_before", "reboot --cut-power", "reboot_after"),
        "end of session": ("session_before", "session_after"),
        "no session": ("no_session",),
        "quickstart": ("quickstart",),
    },
    "app": {
        "reboot": ("reboot_before", "reboot --cut-power", "reboot_after"),
        "end of session": ("session_before", "session_after"),
    },
}
# Playbooks for all hosts of a kind at once.
_TOGETHER = ("migrate", "publish")
# Random kills, with a seed of its own in each run.
_CAMPAIGN = "campaign"
# On other kinds of hosts no container can be checkpointed.
_ONLY_ON: Mapping[str, tuple[str, ...]] = {"migrate": ("trixie",), _CAMPAIGN: ("trixie",)}


class Host:
    """One host, for one user."""

    def __init__(self, tree: str, env: dict[str, str], kind: str, number: int, brief: bool) -> None:
        self.tree, self.env, self.kind, self.number, self.brief = tree, env, kind, number, brief
        self.user, self.runtimes = _HOSTS[number - 1]
        self.name = _name(kind, number)
        self._plays = 0

    def targets(self, runtime: str) -> _Targets:
        """What runs here, with the variables that choose from it."""
        return _BRIEF[self.user, runtime] if self.brief else TARGETS[self.user]

    def target(self, target: str, runtime: str) -> processes.Outcome:
        """One target as a play of its own, as ansible-test does it."""
        self._plays += 1
        playbook = os.path.join(self.tree, "tests", "integration", f"{self.name}-{self._plays}.yml")
        variables = {"setup_bundle_runtimes": [runtime], **self.targets(runtime)[target]}
        # As root, the hosts of this kind have all that a checkpoint needs.
        variables["oci_checkpoint_required"] = (self.user, self.kind) == ("root", "trixie")
        with open(playbook, "w", encoding="utf-8") as stream:
            # JSON is YAML.
            json.dump([{"name": target, "hosts": "all", "roles": [target], "vars": variables}], stream)
        return self._play(playbook)

    def scenario(self, scenario: str, runtime: str) -> processes.Outcome:
        """All steps of a scenario, up to the first that fails."""
        seconds = 0.0
        for step in SCENARIOS[self.user][scenario]:
            words = step.split()
            if words[1:]:
                outcome = bin_hosts(self.tree, self.env, *words, self.name)
            else:
                playbook = os.path.join(self.tree, "tests", "hosts", "scenarios", f"{step}.yml")
                variables = ("-e", f"scenario_runtime={runtime}", "-e", f"ansible_user={self.user}")
                outcome = self._play(playbook, *variables)
            seconds += outcome.seconds
            if outcome.status != 0:
                break
        return processes.Outcome(outcome.status, outcome.output, seconds)

    def together(self, scenario: str, runtime: str) -> processes.Outcome:
        """With the next host."""
        playbook = os.path.join(self.tree, "tests", "hosts", "scenarios", f"{scenario}.yml")
        both = f"{self.name},{_name(self.kind, self.number + 1)}"
        return self._play(playbook, "-e", f"scenario_runtime={runtime}", limit=both)

    def _play(self, playbook: str, *words: str, limit: str | None = None) -> processes.Outcome:
        inventory = os.path.join(self.env["LONGSHORE_HOSTS_STATE_DIR"], "inventory.yml")
        roles = {"ANSIBLE_ROLES_PATH": os.path.join(self.tree, "tests", "integration", "targets")}
        argv = [
            "ansible-playbook",
            "-i",
            inventory,
            "--limit",
            limit or self.name,
            "--user",
            self.user,
            *words,
            playbook,
        ]
        return processes.run(argv, cwd=self.tree, env={**self.env, **roles})


def run(workspace: Workspace, report: Part, arguments: list[str]) -> None:
    """``arguments``: kinds of hosts separated by commas, or ``all``, or nothing; then names of targets.

    How targets did on the kinds that were asked for is written down in the checkout.
    """
    tree = workspace.tree()
    env = {**workspace.environment(tree), "LONGSHORE_HOSTS_STATE_DIR": os.path.join(workspace.directory, "hosts")}
    kinds, chosen = _kinds(tree, arguments[0] if arguments else ""), arguments[1:]
    brief = not any(arguments)
    rows: list[compatibility.Row] = []
    try:
        for kind in kinds:
            made = bin_hosts(tree, env, "up", "--kind", kind, "--count", str(len(_HOSTS)))
            if made.status != 0:
                report.add(f"{kind}: host", failed=1, seconds=made.seconds, output=made.output)
                continue
            hosts = [Host(tree, env, kind, number, brief) for number, _ in enumerate(_HOSTS, start=1)]
            versions = json.loads(bin_hosts(tree, env, "list", "--json").output)[0]
            attempt = functools.partial(_one_host, report=report, versions=versions, chosen=chosen)
            rows += itertools.chain(*processes.side_by_side(attempt, hosts))
            bin_hosts(tree, env, "down")
    finally:
        ended = bin_hosts(tree, env, "down", clearing=True)
        if ended.status != 0:
            report.add("hosts down", failed=1, output=ended.output)
    if rows and not brief:
        path = os.path.join(workspace.checkout, "docs", "compatibility.md")
        compatibility.write(path, rows, whole=not chosen)


def _one_host(host: Host, report: Part, versions: dict[str, str], chosen: list[str]) -> list[compatibility.Row]:
    rows = []
    for runtime in host.runtimes:
        targets = [(name, host.target) for name in host.targets(runtime)]
        for name, attempt in targets + [(name, host.scenario) for name in SCENARIOS[host.user]]:
            if chosen and name not in chosen:
                continue
            rows.append(_told(report, host, versions, runtime, name, attempt(name, runtime)))
    if host.number == 1:
        rows += _together(host, report, versions, chosen)
        if host.kind in _ONLY_ON[_CAMPAIGN] and (not chosen or _CAMPAIGN in chosen):
            rows.append(_told(report, host, versions, "both", _CAMPAIGN, _campaign(host)))
    return rows


def _together(host: Host, report: Part, versions: dict[str, str], chosen: list[str]) -> list[compatibility.Row]:
    """What two hosts do with one another."""
    runtimes = RUNTIMES[:1] if host.brief else RUNTIMES
    return [
        _told(report, host, versions, runtime, name, host.together(name, runtime))
        for name in _TOGETHER
        if host.kind in _ONLY_ON.get(name, (host.kind,)) and (not chosen or name in chosen)
        for runtime in runtimes
    ]


def _campaign(host: Host) -> processes.Outcome:
    """About a minute of it. Its output has the seed, and the command that repeats a trial that failed."""
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tests.campaign.cli import main; sys.exit(main())"
    state = host.env["LONGSHORE_HOSTS_STATE_DIR"]
    words = ["kill", "--count", "60", "--minutes", "1", "--host", host.name, "--hosts-state-dir", state]
    return processes.run([sys.executable, "-IBc", code, host.tree, *words], cwd=host.tree, env=host.env)


def _told(
    report: Part, host: Host, versions: dict[str, str], runtime: str, name: str, outcome: processes.Outcome
) -> compatibility.Row:
    failed = int(outcome.status != 0)
    label = f"{name} ({host.kind}, {runtime}, {host.user})"
    report.add(label, passed=1 - failed, failed=failed, seconds=outcome.seconds, output=outcome.output)
    return compatibility.Row(host.kind, versions, runtime, host.user, name, "failed" if failed else "passed")


def _name(kind: str, number: int) -> str:
    return f"{kind}{number}"


def _kinds(tree: str, wanted: str) -> list[str]:
    if wanted == "all":
        code = "from hosts.kinds import KINDS; print(*KINDS)"
        return processes.run([sys.executable, "-c", code], cwd=f"{tree}/tests", env=dict(os.environ)).output.split()
    return wanted.split(",") if wanted else list(DEFAULT_KINDS)


def bin_hosts(tree: str, env: dict[str, str], *words: str, clearing: bool = False) -> processes.Outcome:
    return processes.run([os.path.join(tree, "bin", "hosts"), *words], cwd=tree, env=env, clearing=clearing)
