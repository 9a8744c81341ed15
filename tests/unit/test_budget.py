# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of what a module ships a task compiles: all that it imports, each time anew."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.tests.unit import bundle, programs
from ansible_collections.longshore.oci.tests.unit.test_architecture import (
    MOST_CODE,
    MOST_FILES,
    PREFIX,
    UTILS,
    lines_of_code,
)

# Lines of code of a task that finds its container as it should be, one that runs a command, one that tells of all containers, and
# one that finds its network as it should be.
MOST_UNCHANGED, MOST_EXECUTED, MOST_TOLD, MOST_UNCHANGED_NETWORK = 1735, 2845, 1335, 1915

# With the runc of this host, from the import of the module to its end but for what Ansible itself does.
TASK = """
import sys
from ansible_collections.longshore.oci.plugins.modules import oci_container
from ansible_collections.longshore.oci.plugins.module_utils._state.model import CgroupManager, Definition, Desired, Goal, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers

name, directory, goal, cgroup = sys.argv[1:]
manager = CgroupManager.CGROUPFS
wanted = Definition(bundle=f"{directory}/bundle", runtime="runc", cgroup_manager=manager, cgroup_parent=cgroup)
outcome = Containers(state_dir=f"{directory}/state", run_dir=f"{directory}/run").converge(
    Desired(name, Goal(goal), wanted if goal == "started" else None, timeouts=Timeouts(stop=0))
)
print(",".join(outcome.actions))
print(*sorted(name for name, module in sys.modules.items() if getattr(module, "__file__", None)), sep="\\n")
"""

# A command in the container, and what is known of all containers.
EXEC_TASK = """
import sys
from ansible_collections.longshore.oci.plugins.modules import oci_exec
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._exec.request import Request
from ansible_collections.longshore.oci.plugins.module_utils._exec.sessions import Sessions

name, directory = sys.argv[1:]
sessions = Sessions(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
print(sessions.converge(Request(name, command=Command(("true",)))).result.rc)
print(*sorted(name for name, module in sys.modules.items() if getattr(module, "__file__", None)), sep="\\n")
"""
INFO_TASK = """
import sys, types
from ansible_collections.longshore.oci.plugins.modules import oci_container_info

directory = sys.argv[1]
params = {"name": [], "log_lines": 0, "state_dir": f"{directory}/state", "run_dir": f"{directory}/run"}
found = oci_container_info.look(types.SimpleNamespace(params=params))["containers"]
print(*(each["status"] for each in found))
print(*sorted(name for name, module in sys.modules.items() if getattr(module, "__file__", None)), sep="\\n")
"""

# On a host of its own, a network namespace: what is imported by a task that makes a network, and by one that finds it made.
NETWORK_TASK = """
import sys
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._network import networks
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import parse

host, name, directory = sys.argv[1:]
own = networks.Networks(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
request = parse.Request(name, interfaces=(parse.Interface(subnet=("10.78.1.0/24",)),), publish=("8080:80",))
print(",".join(netns.inside(host, lambda: own.converge(request)).plan.actions))
print(*sorted(name for name, module in sys.modules.items() if getattr(module, "__file__", None)), sep="\\n")
"""


def _task(directory: pathlib.Path, goal: str, cgroup: str) -> tuple[str, set[str]]:
    return _run(TASK, os.path.basename(cgroup), str(directory), goal, cgroup)


def _run(task: str, *arguments: str) -> tuple[str, set[str]]:
    """The actions of a task in a Python of its own, and the files of ours that it has imported."""
    argv = [sys.executable, "-c", task, *arguments]
    done = subprocess.run(
        argv, env=programs.python_environment(), capture_output=True, text=True, check=True, timeout=60
    )
    actions, *names = done.stdout.splitlines()
    return actions, {name[len(PREFIX) :] for name in names if name.startswith(PREFIX)}


def test_what_a_task_compiles(tmp_path: pathlib.Path, scratch_cgroup: str) -> None:
    """A create and start stays within what a module may ship, and a task with nothing to do needs far less."""
    (tmp_path / "bundle").mkdir()
    bundle.make(tmp_path / "bundle", "sleep", "60")
    try:
        actions, started = _task(tmp_path, "started", scratch_cgroup)
        assert actions == "create,start"
        # On a busy machine conmon answers late, and the task looks what became of the runtime.
        started.discard(f"{UTILS}._conmon.lost_runtime")
        nothing, unchanged = _task(tmp_path, "started", scratch_cgroup)
        assert nothing == ""
        code, executed = _run(EXEC_TASK, os.path.basename(scratch_cgroup), str(tmp_path))
        assert code == "0"
        status, told = _run(INFO_TASK, str(tmp_path))
        assert status == "running"
    finally:
        _task(tmp_path, "absent", scratch_cgroup)
    lines = {name: lines_of_code(name) for name in started | unchanged | executed | told}
    assert len(started) <= MOST_FILES, sorted(started)
    assert sum(lines[name] for name in started) <= MOST_CODE, lines
    # Where systemd runs, conmon's scope takes one file more.
    assert sum(lines[name] for name in started) + lines_of_code(f"{UTILS}._host.systemd") <= MOST_CODE + 130
    # At a first start there is nothing to compare with.
    assert unchanged - started == {f"{UTILS}._lifecycle.changes", f"{UTILS}._config.config_differences"}
    assert sum(lines[name] for name in unchanged) <= MOST_UNCHANGED, {name: lines[name] for name in unchanged}
    assert sum(lines[name] for name in executed) <= MOST_EXECUTED, {name: lines[name] for name in executed}
    assert sum(lines[name] for name in told) <= MOST_TOLD, {name: lines[name] for name in told}


def test_what_a_network_compiles(tmp_path: pathlib.Path) -> None:
    host, name = (f"lsu{os.getpid()}-{end}" for end in ("budget", "net"))
    netns.create(host)
    try:
        actions, made = _run(NETWORK_TASK, host, name, str(tmp_path))
        assert actions.endswith("forwarding,rules")
        nothing, unchanged = _run(NETWORK_TASK, host, name, str(tmp_path))
        assert nothing == ""
    finally:
        netns.remove(name)
        netns.remove(host)
    assert {f"{UTILS}.{file}" for file in ("_network.apply", "_network_spec.operations")} <= made - unchanged
    assert sum(lines_of_code(each) for each in unchanged) <= MOST_UNCHANGED_NETWORK, unchanged
