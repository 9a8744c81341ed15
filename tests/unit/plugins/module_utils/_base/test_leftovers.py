# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary files of write_text: whose they are, and which of them go."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import files, leftovers
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import delete
from ansible_collections.longshore.oci.plugins.module_utils._network.records import Records
from ansible_collections.longshore.oci.plugins.module_utils._service import owner_systemd
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition, Status, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, killing


def killed(directory: pathlib.Path, name: str, mode: int = 0o600, **how: t.Any) -> None:
    """Have a task killed right before it renames its temporary file."""
    steps = killing.steps(lambda: files.write_text(f"{directory}/{name}", "text", mode=mode))
    os.unlink(directory / name)
    at = next(number for number, step in enumerate(steps) if step.startswith("os.rename"))
    assert killing.kill(lambda: files.write_text(f"{directory}/{name}", "text", mode=mode), at=at, **how).was_killed


def test_one_of_a_killed_task_goes(tmp_path: pathlib.Path) -> None:
    killed(tmp_path, "a.json")
    assert len(os.listdir(tmp_path)) == 1
    leftovers.clear(str(tmp_path), r"b\.json")
    assert len(os.listdir(tmp_path)) == 1
    leftovers.clear(str(tmp_path), r"a\.json")
    assert os.listdir(tmp_path) == []
    leftovers.clear(f"{tmp_path}/nowhere", ".+")


def test_an_interrupted_task_leaves_none(tmp_path: pathlib.Path) -> None:
    killed(tmp_path, "a.json", number=signal.SIGINT)
    assert os.listdir(tmp_path) == []


def test_one_of_a_task_at_work_stays(tmp_path: pathlib.Path) -> None:
    path = tmp_path / f"a.json.{os.getpid()}.0123abcd"
    path.write_text("")
    path.chmod(0o600)
    leftovers.clear(str(tmp_path), ".+")
    assert path.exists()
    # Older than the process that has the number now: it was another's.
    os.utime(path, (0, time.time() - 10 * 365 * 86400))
    leftovers.clear(str(tmp_path), ".+")
    assert not path.exists()


@pytest.mark.parametrize("what", ["name", "mode", "owner", "link", "directory", "symlink"])
def test_a_file_of_a_user_stays(tmp_path: pathlib.Path, what: str) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "directory").mkdir()
    path = tmp_path / "directory" / f"a.json.{gone.pid}.{'0123abcde' if what == 'name' else '0123abcd'}"
    if what == "directory":
        path.mkdir()
    elif what == "symlink":
        path.symlink_to(tmp_path)
    else:
        path.write_text("")
        path.chmod(0o666 if what == "mode" else 0o600)
    if what == "owner":
        os.chown(path, 1000, -1)
    if what == "link":
        os.link(path, tmp_path / "second")
    leftovers.clear(f"{tmp_path}/directory", ".+")
    assert os.path.lexists(path)


def test_the_records_of_networks(tmp_path: pathlib.Path) -> None:
    records = Records(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    for directory, name in (("state/networks", "n.json"), ("run", "network.json"), ("run", "network.nft")):
        (tmp_path / directory).mkdir(parents=True, exist_ok=True)
        killed(tmp_path / directory, name)
    (tmp_path / "run" / "network.nft").write_text("")
    records.sweep()
    assert os.listdir(tmp_path / "state") == []
    assert os.listdir(tmp_path / "run") == []


def test_the_unit_of_a_service_and_the_versions(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a container that is being removed."""
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    for directory, name in (("units", "longshore-c.service"), ("run", "programs.json")):
        (tmp_path / directory).mkdir()
        killed(tmp_path / directory, name, 0o644)
    monkeypatch.setattr(names, "service_path", lambda _name, _realm: f"{tmp_path}/units/longshore-c.service")
    record = builders.record(name="c", phase="removed", realm=store.realm, definition=Definition("/b", service=True))
    monkeypatch.setattr(owner_systemd, "has_unit", lambda _record, _paths: False)
    seen = builders.observed(Status.STOPPED, phase="removed")._replace(name="c")
    delete.delete_container(store, t.cast(t.Any, None), seen, record, Timeouts())
    assert os.listdir(tmp_path / "units") == []
    assert os.listdir(tmp_path / "run") == []
