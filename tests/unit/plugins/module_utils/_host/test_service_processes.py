# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes a service has. That systemd starts them is tested on hosts that have it."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, service_processes
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Record
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


def _record(*, service: bool = True, phase: str = "running", realm: str = "") -> Record:
    return builders.record(definition=builders.definition(service=service), phase=phase, realm=realm)


@pytest.mark.parametrize("service", [False, True])
@pytest.mark.parametrize("phase", ["creating", "running", "removed", "checkpointed"])
@pytest.mark.parametrize("text", [None, "", "1", "999999999"])
def test_a_pid_file_that_leads_to_no_process_in_the_scope(
    tmp_path: pathlib.Path, text: str | None, phase: str, service: bool
) -> None:
    paths = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run").paths("web")
    pathlib.Path(paths.run).mkdir(parents=True)
    if text is not None:
        pathlib.Path(paths.pidfile).write_text(text, encoding="ascii")
    record = _record(service=service, phase=phase)
    assert service_processes.with_service_processes(record, paths) is record


@pytest.mark.parametrize(
    ("service", "phase", "unready"),
    [(False, "starting", True), (True, "starting", False), (False, "running", False), (False, "created", False)],
)
def test_what_nobody_waits_for(service: bool, phase: str, unready: bool) -> None:
    assert service_processes.is_unready(_record(service=service, phase=phase)) == unready


def test_its_unit() -> None:
    assert service_processes.unit_of(_record(service=False)) is None
    assert service_processes.unit_of(_record()) == "longshore-web.service"
    assert service_processes.unit_of(_record(realm="ab12")) == "longshore.ab12-web.service"


def test_a_pid_file_is_believed_only_of_a_process_in_the_scope(tmp_path: pathlib.Path) -> None:
    paths = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run").paths("web")
    os.makedirs(paths.run)
    for path in (paths.pidfile, paths.conmon_pidfile):
        pathlib.Path(path).write_text(str(os.getpid()))
    record = _record()
    assert service_processes.with_service_processes(record, paths) == record
    known = record.replace(init=identify(os.getpid()))
    assert service_processes.with_service_processes(known, paths) == known


@pytest.mark.parametrize(
    ("phase", "after"),
    [("starting", "starting"), ("stopping", "stopping"), ("stopped", "running"), ("created", "running")],
)
@pytest.mark.parametrize("parent", [True, False])
def test_the_processes_of_the_latest_start(
    tmp_path: pathlib.Path, phase: str, after: str, parent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """conmon only where it is the parent: otherwise it was killed, and the number may be another's."""
    paths = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run").paths("web")
    os.makedirs(paths.run)
    for path in (paths.pidfile, paths.conmon_pidfile):
        pathlib.Path(path).write_text(str(os.getpid()))
    scope = "/system.slice/longshore-web.scope"
    monkeypatch.setattr(names, "container_unit", lambda _name, _realm: "longshore-web.scope")
    monkeypatch.setattr(cgroup, "path_of", lambda _pid: scope)
    monkeypatch.setattr(service_processes, "parent_of", lambda pid: pid if parent else 1)
    found = service_processes.with_service_processes(_record(phase=phase), paths)
    process = identify(os.getpid())
    assert (found.phase, found.init, found.monitor) == (after, process, process if parent else None)
    assert (found.cgroup_path, found.conmon_cgroup_path) == (scope, scope if parent else None)
