# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a launch that fails gives back, and what it says."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import DeadlineExceeded, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._container import rollback, sweep
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    found = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    os.makedirs(f"{found.paths('web').state}/checkpoints/one")
    pathlib.Path(found.paths("web").config).write_text("new", encoding="ascii")
    return found


def test_without_a_former_record_nothing_stays_but_checkpoints(store: Store) -> None:
    record = store.save(builders.record(phase="creating"))
    rollback.restore_previous(store, record, None, None)
    assert os.listdir(store.paths("web").state) == ["checkpoints"]
    assert store.load("web") is None


@pytest.mark.parametrize("config", [None, "old"])
def test_the_former_record_and_config_come_back(store: Store, config: str | None) -> None:
    previous = builders.record(phase="stopped", stop_timeout=7)
    record = store.save(builders.record(phase="creating"))
    rollback.restore_previous(store, record, previous, config)
    assert store.load("web") == previous
    path = pathlib.Path(store.paths("web").config)
    assert (path.read_text(encoding="ascii") if path.exists() else None) == config


def test_the_last_words_of_each_log(store: Store, tmp_path: pathlib.Path) -> None:
    paths = store.paths("web")
    os.makedirs(paths.bundle)
    logs = {
        "restore_log": f"{paths.bundle}/restore.log", "runtime_log": paths.runtime_log, "conmon_log": paths.conmon_log,
        "network_log": paths.network_log, "container_log": f"{tmp_path}/log",
    }  # fmt: skip
    record = builders.record(log_path=logs["container_log"], created_at="2026-11-27T06:00:00.000000Z")
    assert rollback.last_words(paths, record) == {name: [] for name in logs}
    for name, path in logs.items():
        before = "2026-11-27T06:00:01.000000000+00:00 stdout F " if name == "container_log" else ""
        pathlib.Path(path).write_text(f"{before}first of {name}\n{before}last of {name}\n", encoding="ascii")
    assert rollback.last_words(paths, record) == {name: [f"first of {name}", f"last of {name}"] for name in logs}


@pytest.mark.parametrize("error", [DeadlineExceeded("It took too long."), ValueError("a fault")])
def test_the_former_record_comes_back_although_parts_remain(
    store: Store, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise LongshoreError("The cgroup is busy.")

    monkeypatch.setattr(sweep, "sweep_leftovers", fail)
    previous = builders.record(phase="stopped")
    record = store.save(builders.record(phase="creating"))
    raised = rollback.roll_back(store, record, previous, None, error, Timeouts())
    assert store.load("web") == previous
    if isinstance(error, DeadlineExceeded):
        assert "It took too long." in str(raised)
        assert "Cleaning up failed too: The cgroup is busy." in str(raised)
    else:
        assert raised is error
