# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same life by tasks of Ansible: oci_container, podman_container, and a module that does nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import typing as t
import venv
import zipfile

from .clock import Lap
from .workspace import COMMAND, Workspace

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
# ansible-core, and the package of collections from which containers.podman is taken; they belong together.
CORE, COLLECTIONS = "ansible-core==2.19.14", "ansible==12.3.0"
FLOOR, OURS, PODMAN = "ansible.builtin.ping", "longshore.oci.oci_container", "containers.podman.podman_container"
OTHER = f"{OURS}, other checkout"
_TURN = 5  # rounds of one checkout before the other has its turn
STEPS = ("create + start", "unchanged", "remove")
Task = dict[str, t.Any]


class Ansible:
    """Ansible in an environment of its own, made once and kept in the cache."""

    def __init__(self) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        cache = os.environ.get("LONGSHORE_CACHE") or f"{base}/longshore-oci"
        python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        self._environment = f"{cache}/benchmark-{COLLECTIONS.replace('==', '-')}-{python}"
        self.python = f"{self._environment}/bin/python"
        self.collection = f"{self._environment}/collections/ansible_collections/containers/podman"

    def install(self) -> None:
        complete = f"{self._environment}/.complete"
        if os.path.exists(complete):
            return
        if tuple(sys.version_info) < (3, 11):
            raise SystemExit("lifecycle: the tasks need Python 3.11 or newer for Ansible: use --no-tasks")
        print("Installing Ansible, once ...", file=sys.stderr, flush=True)
        shutil.rmtree(self._environment, ignore_errors=True)
        venv.create(self._environment, with_pip=True)
        downloads = f"{self._environment}/downloads"
        self._pip("install", CORE)
        # Of half a gigabyte of collections one is needed.
        self._pip("download", "--no-deps", "--only-binary=:all:", "--dest", downloads, COLLECTIONS)
        for wheel in os.listdir(downloads):
            with zipfile.ZipFile(f"{downloads}/{wheel}") as archive:
                wanted = [name for name in archive.namelist() if "/containers/podman/" in name]
                archive.extractall(f"{self._environment}/collections", wanted)
        shutil.rmtree(downloads)
        with open(complete, "w", encoding="utf-8"):
            pass

    def _pip(self, *words: str) -> None:
        result = subprocess.run(
            [self.python, "-m", "pip", "--disable-pip-version-check", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if result.returncode != 0:
            raise SystemExit(f"lifecycle: pip {words[0]} failed:\n{result.stdout[-3000:]}")

    def versions(self) -> str:
        with open(f"{self.collection}/MANIFEST.json", encoding="utf-8") as stream:
            return f"{CORE.replace('==', ' ')}, containers.podman {json.load(stream)['collection_info']['version']}"


def measure(
    ansible: Ansible, workspace: Workspace, lap: Lap, *, rounds: int, runtime: str, podman: dict[str, str] | None,
    against: str | None = None,
) -> None:  # fmt: skip
    """``podman`` is the environment for podman, or None to leave podman_container out. ``against`` is another checkout.

    Two checkouts are the same collection, so no playbook can have both: theirs take turns, a few rounds each.
    """
    one_round = [task("no-op", FLOOR, FLOOR, {}), *_our_tasks(workspace, runtime, OURS)]
    if podman is not None:
        one_round += _podman_tasks(workspace)
    if against is None:
        play(ansible, workspace, lap, one_round, rounds=rounds, environment=podman)
        return
    other = _our_tasks(workspace, runtime, OTHER)
    for done in range(0, rounds, _TURN):
        turns = [(one_round, REPOSITORY), (other, against)]
        for each, checkout in turns if done // _TURN % 2 == 0 else reversed(turns):
            count = min(_TURN, rounds - done)
            play(ansible, workspace, lap, each, rounds=count, environment=podman, checkout=checkout)


def play(
    ansible: Ansible, workspace: Workspace, lap: Lap, one_round: list[Task], *, rounds: int,
    environment: dict[str, str] | None, checkout: str = REPOSITORY,
) -> None:  # fmt: skip
    """Add the times of tasks whose names are ``step: candidate``."""
    times, collections = f"{workspace.state}/task-times", f"{workspace.state}/collections"
    for name, target in (("longshore/oci", checkout), ("containers/podman", ansible.collection)):
        link = f"{collections}/ansible_collections/{name}"
        os.makedirs(os.path.dirname(link), exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)
        os.symlink(target, link)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(times)  # of the play before
    playbook = f"{workspace.state}/playbook.json"
    with open(playbook, "w", encoding="utf-8") as stream:
        # The first round also builds the modules' archives, and is not counted.
        json.dump([{"hosts": "localhost", "gather_facts": False, "tasks": one_round * (rounds + 1)}], stream)
    settings = f"{workspace.state}/ansible.cfg"
    with open(settings, "w", encoding="utf-8"):
        pass  # Empty, so that the settings of the user do not count here.
    environment = {
        **(environment or os.environ), "ANSIBLE_CONFIG": settings, "ANSIBLE_HOME": f"{workspace.state}/ansible",
        "ANSIBLE_REMOTE_TEMP": f"{workspace.state}/ansible/remote", "ANSIBLE_COLLECTIONS_PATH": collections,
        "ANSIBLE_CALLBACK_PLUGINS": f"{os.path.dirname(os.path.realpath(__file__))}/callback",
        "ANSIBLE_CALLBACKS_ENABLED": "task_times", "ANSIBLE_PIPELINING": "1", "ANSIBLE_NOCOLOR": "1",
        "LONGSHORE_TASK_TIMES": times, "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    result = subprocess.run(
        [ansible.python, "-m", "ansible", "playbook", "--inventory", "localhost,", "--connection", "local",
         "--extra-vars", f"ansible_python_interpreter={ansible.python}", playbook],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise SystemExit(f"lifecycle: the playbook failed:\n{result.stdout[-3000:]}")
    with open(times, encoding="utf-8") as stream:
        lines = [line.rstrip("\n").split("\t") for line in stream]
    for milliseconds, name in lines[len(one_round) :]:
        step, _separator, candidate = name.partition(": ")
        lap.add(f"task: {step}", candidate, float(milliseconds))


def _our_tasks(workspace: Workspace, runtime: str, candidate: str) -> list[Task]:
    same = {"name": "task", "state_dir": f"{workspace.state}/tasks", "run_dir": f"{workspace.run}/tasks"}
    started = {
        **same, "state": "started", "bundle": workspace.bundle, "runtime": runtime, "cgroup_manager": "cgroupfs",
        "cgroup_parent": workspace.cgroup,
    }  # fmt: skip
    return _life(OURS, started, {**same, "state": "absent", "stop_timeout": 0}, candidate=candidate)


def _podman_tasks(workspace: Workspace) -> list[Task]:
    started = {
        "name": "task", "state": "started", "image": workspace.rootfs, "rootfs": True, "command": COMMAND,
        "network": ["none"], "cgroup_parent": workspace.cgroup, "stop_signal": 9,
    }  # fmt: skip
    return _life(PODMAN, started, {"name": "task", "state": "absent"}, candidate=PODMAN)


def _life(module: str, started: dict[str, t.Any], absent: dict[str, t.Any], *, candidate: str) -> list[Task]:
    """Each step checks what it did: a module that does nothing would be fast."""
    arguments = (started, started, absent)
    life = []
    for step, given in zip(STEPS, arguments):
        expected = step != "unchanged"
        checked = {"register": "did", "failed_when": f"did.changed != {expected}"}
        life.append({**task(step, candidate, module, given), **checked})
    return life


def task(step: str, candidate: str, module: str, arguments: dict[str, t.Any]) -> Task:
    return {"name": f"{step}: {candidate}", module: arguments}
