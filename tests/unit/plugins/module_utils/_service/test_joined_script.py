# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.files import make_directory
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, identify
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._service import joined_script
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    made = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    make_directory(made.paths("db").state)
    made.save(builders.record(name="db", realm=made.realm))
    return made


@pytest.fixture
def db(spawn: t.Any) -> ProcessId:
    """A process in namespaces of its own."""
    child: subprocess.Popen[bytes] = spawn("unshare", "--net", "--ipc", "--uts", "sh", "-c", "kill -STOP $$")
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    return t.cast(ProcessId, identify(child.pid))


class TestScript:
    """What the script of a service does, with a /proc of its own making: there the shell finds any number it is told."""

    def _run(self, store: Store, pid: str, scope: str = "") -> subprocess.CompletedProcess[str]:
        words = joined_script.script(store, builders.record(), {"network": "db"})
        make_directory(store.paths("db").run)
        pathlib.Path(store.paths("db").pidfile).write_text(pid)
        unit = names.container_unit("db", store.realm)
        assert unit in words["share"]
        text = words["functions"] + words["share"].replace(unit, scope or unit) + "\nreadlink /proc/self/fd/4"
        return subprocess.run(["/bin/sh", "-uc", text], capture_output=True, text=True, timeout=20, check=False)

    @pytest.mark.parametrize("below", ["", "/container"])
    def test_one_in_its_scope(self, store: Store, db: ProcessId, scratch_cgroup: str, below: str) -> None:
        """Any cgroup in the place of a scope; crun has one more below that."""
        space = os.readlink(f"/proc/{db.pid}/ns/net")
        cgroup.place(scratch_cgroup + below, db.pid)
        done = self._run(store, str(db.pid), os.path.basename(scratch_cgroup))
        cgroup_removal.kill(scratch_cgroup, Deadline(5))
        assert done.stdout.strip() == space, done.stderr
        assert os.readlink(f"{store.paths('web').namespaces}/network/db").endswith("/fd/4")

    @pytest.mark.parametrize("pid", ["", "1", "self", "../1", "$(id)", "{db}", "999999999", "{db} "])
    def test_anything_else_is_refused(self, store: Store, db: ProcessId, pid: str) -> None:
        done = self._run(store, pid.format(db=db.pid))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "The container db, whose network namespace web shares, does not run.\n"
