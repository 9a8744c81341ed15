# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The integration targets over ssh, on real hosts with systemd: once for each kind of host, runtime and user.

The very same roles as ansible-test runs on this machine, from the inventory that bin/hosts writes: ansible-test has no option
for a host that it has not made itself, and cannot say which user and runtime to take. Then the scenarios of
tests/hosts/scenarios, for what a play alone cannot do: end a session, cut the power. A host of root begins a short campaign of
kills last, because that judges times.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Callable

from . import compatibility, processes, sharing
from .report import Part
from .workspace import Workspace

# These run without a word about hosts.
DEFAULT_KINDS = ("trixie",)
RUNTIMES = ("crun", "runc")
# The hosts of a kind, by their users. All but the partner are at work at the same time: each takes the longest of what is left for
# its user. The partner waits for what takes two hosts, which must have both to itself; the host before it does that.
_HOSTS = ("root", "root", "root", "app")
_PARTNER = 2
# Tests that need root stay with root: making cgroups and slices by hand, counting the programs that a task starts (ptrace),
# installing packages.
_UNPRIVILEGED_TESTS = (
    "states", "definition", "service", "owner", "network_helper", "stop_settings", "stop", "exits", "logs", "launch_options",
    "sdnotify", "environment", "reserve_ports", "listen", "bad_input",
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
# A run without a word about hosts does this part of it: all but the tests that need systemd have run on this machine by then, and it
# must not take long. Tests that are the same for each runtime and user, such as the way from each state to each other one, run with some
# pairs of them, of which each runtime and each user is one, except those that test_schedule.py names; with --hosts all
# pairs run.
_CHECKPOINT = ["states", "by_container"]
_BRIEF: Mapping[tuple[str, str], _Targets] = {
    ("root", "crun"): {
        "oci_container": {"oci_container_tests": ["service", "owner", "scopes"]}, "oci_container_info": {},
        "oci_checkpoint": {"oci_checkpoint_tests": [*_CHECKPOINT, "service"]},
        "oci_bundle": {"oci_bundle_tests": ["registry", "userns", "limits"]},
        "oci_network": {"oci_network_tests": ["states", "info", "containers"]},
        "examples": {}, "role_runtime": {}, "role_container": {},
    },
    ("root", "runc"): {
        "oci_container": {"oci_container_tests": ["states", "cgroups"]}, "oci_checkpoint": {"oci_checkpoint_tests": _CHECKPOINT},
        "oci_exec": {"oci_exec_tests": ["command", "streams"]},
    },
    # The states with crun under systemd; all of oci_exec: with crun its sessions are in cgroups of systemd.
    ("app", "crun"): {
        "oci_container": {"oci_container_tests": ["states"]}, "oci_exec": {}, "oci_checkpoint": {},
        "oci_bundle": TARGETS["app"]["oci_bundle"],
    },
    # The contract of the owners with the user manager; with that of root above.
    ("app", "runc"): {"oci_container": {"oci_container_tests": ["owner", "network_helper", "bad_input"]}},
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
# Whether units and records outlast a reboot or a session is of the user, not of the runtime.
_BRIEF_SCENARIOS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("root", "crun"): ("reboot", "no session", "quickstart"),
    ("root", "runc"): ("end of session", "no session", "quickstart"),
    ("app", "crun"): ("end of session",),
    ("app", "runc"): ("reboot",),
}
# These are held to a time: where the order is free, after the linters, which compute, have done.
TIMED = ("oci_exec", "oci_container")
# Playbooks for two hosts of a kind at once.
_TOGETHER = ("migrate", "publish")
# Random kills, with a seed of its own in each run.
_CAMPAIGN = "campaign"
# On other kinds of hosts no container can be checkpointed.
_ONLY_ON: Mapping[str, tuple[str, ...]] = {"migrate": ("trixie",), _CAMPAIGN: ("trixie",)}


@dataclasses.dataclass(frozen=True)
class Job:
    """One line of the report."""

    kind: str
    runtime: str
    user: str
    name: str
    # The method of a host that does it.
    how: str

    @property
    def label(self) -> str:
        return f"{self.name} ({self.kind}, {self.runtime}, {self.user})"


class Host:
    """One host, for one user."""

    def __init__(self, tree: str, env: dict[str, str], kind: str, number: int, brief: bool) -> None:
        self.tree, self.env, self.kind, self.number, self.brief = tree, env, kind, number, brief
        self.user = _HOSTS[number - 1]
        self.name = _name(kind, number)
        self._plays = 0

    def target(self, target: str, runtime: str) -> processes.Outcome:
        """One target as a play of its own, as ansible-test does it."""
        self._plays += 1
        playbook = os.path.join(self.tree, "tests", "integration", f"{self.name}-{self._plays}.yml")
        variables = {"setup_bundle_runtimes": [runtime], **_targets(self.user, runtime, self.brief)[target]}
        # With all pairs also all steps at which an owner can fail.
        variables["oci_container_owner_most"] = 3 if self.brief else 0
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

    def campaign(self, _name: str, _runtime: str) -> processes.Outcome:
        """About a minute of kills. The output has the seed, and the command that repeats a trial that failed."""
        code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tests.campaign.cli import main; sys.exit(main())"
        state = self.env["LONGSHORE_HOSTS_STATE_DIR"]
        words = ["kill", "--count", "60", "--minutes", "1", "--host", self.name, "--hosts-state-dir", state]
        return processes.run([sys.executable, "-IBc", code, self.tree, *words], cwd=self.tree, env=self.env)

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
            hosts = [Host(tree, env, kind, number, brief) for number in range(1, len(_HOSTS) + 1)]
            versions = json.loads(bin_hosts(tree, env, "list", "--json").output)[0]
            work = functools.partial(_told, report=report, versions=versions)
            waiting = in_order(jobs(kind, brief, chosen), sharing.durations(workspace.cache))
            done = sharing.share(hosts, waiting, fits, work)
            # In the table each row has one runtime, and its version.
            told = [row for row in done if row.runtime in RUNTIMES]
            rows += sorted(told, key=lambda row: (row.user != "root", row.runtime))
            bin_hosts(tree, env, "down")
    finally:
        ended = bin_hosts(tree, env, "down", clearing=True)
        if ended.status != 0:
            report.add("hosts down", failed=1, output=ended.output)
    if rows and not brief:
        path = os.path.join(workspace.checkout, "docs", "compatibility.md")
        compatibility.write(path, rows, whole=not chosen)


def jobs(kind: str, brief: bool, chosen: Sequence[str]) -> list[Job]:
    """Name all that runs on the hosts of a kind."""
    found = []
    for user, runtime in itertools.product(TARGETS, RUNTIMES):
        found += [Job(kind, runtime, user, name, "target") for name in _targets(user, runtime, brief)]
        scenarios = _BRIEF_SCENARIOS[user, runtime] if brief else SCENARIOS[user]
        found += [Job(kind, runtime, user, name, "scenario") for name in scenarios]
    together = itertools.product(_TOGETHER, RUNTIMES[:1] if brief else RUNTIMES)
    found += [Job(kind, runtime, "root", name, "together") for name, runtime in together]
    found.append(Job(kind, "both", "root", _CAMPAIGN, "campaign"))
    return [job for job in found if kind in _ONLY_ON.get(job.name, (kind,)) and (not chosen or job.name in chosen)]


def tests_of(job: Job, brief: bool) -> Sequence[str] | None:
    """Name the tests of a target that a job runs; nothing where it runs all that the target has."""
    chosen = _targets(job.user, job.runtime, brief)[job.name].get(f"{job.name}_tests")
    return chosen if isinstance(chosen, list) else None


def fits(host: Host, job: Job) -> bool:
    return job.user == host.user and host.number != _PARTNER and (job.how != "together" or host.number == _PARTNER - 1)


def in_order(found: Sequence[Job], known: Mapping[str, float]) -> list[Job]:
    """Sort them by when they must begin, by the times that are ``known``."""

    def key(job: Job) -> tuple[bool, bool, float]:
        # The campaign calls a task that takes longer than usual a fault: last, it is beside the least.
        last = job.how == "campaign"
        # The order of what has only one host is free.
        timed = _HOSTS.count(job.user) == 1 and job.name in TIMED
        return (last, timed, -sharing.seconds(known, f"hosts {job.label}"))

    return sorted(found, key=key)


def _targets(user: str, runtime: str, brief: bool) -> _Targets:
    """Return what runs there, with the variables that choose from it."""
    return _BRIEF[user, runtime] if brief else TARGETS[user]


def _told(host: Host, job: Job, report: Part, versions: dict[str, str]) -> compatibility.Row:
    do: Callable[[str, str], processes.Outcome] = getattr(host, job.how)
    outcome = do(job.name, job.runtime)
    failed = int(outcome.status != 0)
    report.add(job.label, passed=1 - failed, failed=failed, seconds=outcome.seconds, output=outcome.output)
    return compatibility.Row(job.kind, versions, job.runtime, job.user, job.name, "failed" if failed else "passed")


def _name(kind: str, number: int) -> str:
    return f"{kind}{number}"


def _kinds(tree: str, wanted: str) -> list[str]:
    if wanted == "all":
        code = "from hosts.kinds import KINDS; print(*KINDS)"
        return processes.run([sys.executable, "-c", code], cwd=f"{tree}/tests", env=dict(os.environ)).output.split()
    return wanted.split(",") if wanted else list(DEFAULT_KINDS)


def bin_hosts(tree: str, env: dict[str, str], *words: str, clearing: bool = False) -> processes.Outcome:
    return processes.run([os.path.join(tree, "bin", "hosts"), *words], cwd=tree, env=env, clearing=clearing)
