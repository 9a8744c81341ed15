# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container in a namespace that its config does not lead to any more. The containers are processes with records of ours."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, identify
from ansible_collections.longshore.oci.plugins.module_utils._config import config
from ansible_collections.longshore.oci.plugins.module_utils._config.namespace_paths import KINDS
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._ports import left_namespaces
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Desired, Goal, Record
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

NETWORK = f"lsu{os.getpid()}-left"


@pytest.fixture
def store(tmp_path: pathlib.Path) -> t.Iterator[Store]:
    yield Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    netns.remove(NETWORK)


def _spawned(spawn: t.Any, *argv: str) -> ProcessId:
    child: subprocess.Popen[bytes] = spawn(*argv, "sh", "-c", "kill -STOP $$")
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    return t.cast(ProcessId, identify(child.pid))


def _save(store: Store, name: str, init: ProcessId | None, *spaces: dict[str, str]) -> tuple[Record, dict[str, t.Any]]:
    record, paths = builders.record(name=name, init=init, runtime_root=f"{store.run_dir}/runc"), store.paths(name)
    pathlib.Path(paths.state).mkdir(parents=True, exist_ok=True)
    effective = config.effective(builders.config(linux={"namespaces": [*spaces]}), record, paths)
    pathlib.Path(paths.config).write_text(json.dumps(effective), encoding="utf-8")
    return store.save(record), effective


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("none", None), ("ip netns delete {0}", "no longer at {1}, so it could not be started again. oci_network"),
        ("umount -l {1}", "no longer at {1}, so it could"), ("ip netns delete {0}; ip netns add {0}", "where another one is now. state=restarted"),
    ],
)  # fmt: skip
def test_at_a_path(store: Store, spawn: t.Any, loss: str, says: str | None) -> None:
    netns.create(NETWORK)
    path = netns.path_of(NETWORK)
    init = _spawned(spawn, "ip", "netns", "exec", NETWORK)
    saved = _save(store, "web", init, {"type": "network", "path": path}, {"type": "ipc"})
    if says is None:
        assert left_namespaces.warnings(store, *saved) == ()
        return
    subprocess.run(["sh", "-c", loss.format(NETWORK, path)], check=True)
    [warning] = left_namespaces.warnings(store, *saved)
    assert says.format(NETWORK, path) in warning
    assert warning.startswith(
        ("The network namespace of the container web is no", "The container web still has the former network")
    )
    # Nothing of an ended container, or of one that ends.
    assert left_namespaces.warnings(store, saved[0]._replace(init=None), saved[1]) == ()


@pytest.mark.parametrize("kind", ["network", "ipc", "uts"])
def test_of_another_container(store: Store, spawn: t.Any, kind: str) -> None:
    flags = {"network": "--net", "ipc": "--ipc", "uts": "--uts"}
    first, second = (_spawned(spawn, "unshare", flags[kind]) for _start in range(2))
    joined = _spawned(spawn, "nsenter", f"{flags[kind]}=/proc/{first.pid}/ns/{KINDS[kind]}")
    _save(store, "db", first, {"type": kind})
    saved = _save(store, "web", joined, {"type": kind, "path": "container:db"})
    assert left_namespaces.warnings(store, *saved) == ()
    _save(store, "db", None, {"type": kind})  # It has stopped, and is to be started first.
    assert left_namespaces.warnings(store, *saved) == ()
    _save(store, "db", second, {"type": kind})
    [warning] = left_namespaces.warnings(store, *saved)
    assert warning == (
        f"The container web still has the former {kind} namespace of the container db, which has been started again."
        " state=restarted joins the present one."
    )


def test_a_task_says_so_for_a_container_that_goes_on(store: Store, spawn: t.Any) -> None:
    netns.create(NETWORK)
    init = _spawned(spawn, "ip", "netns", "exec", NETWORK)
    _save(store, "web", init, {"type": "network", "path": netns.path_of(NETWORK)})
    containers = Containers(state_dir=store.state_dir, run_dir=store.run_dir)

    def warned(goal: Goal) -> bool:
        return any("namespace" in warning for warning in containers.decide(Desired("web", goal))[1].warnings)

    assert not any(map(warned, Goal))
    netns.remove(NETWORK)
    assert {goal for goal in Goal if warned(goal)} == {Goal.PRESENT, Goal.STARTED, Goal.PAUSED}
