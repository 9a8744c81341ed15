# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import types
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict
from ansible_collections.longshore.oci.plugins.module_utils._base.files import make_directory
from ansible_collections.longshore.oci.plugins.module_utils._base.process import boot_id, identify
from ansible_collections.longshore.oci.plugins.module_utils._state import run_directory
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.plugins.modules import oci_container_info
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("mark", ["state", "bundle/config.json"])
def test_a_run_directory_of_another(tmp_path: pathlib.Path, mark: str) -> None:
    """The second is what earlier releases leave."""
    mine, others = (Store(state_dir=f"{tmp_path}/{name}", run_dir=f"{tmp_path}/run") for name in ("mine", "others"))
    make_directory(mine.paths("web").bundle)
    target = others.paths("web").state if mark == "state" else others.paths("web").config
    os.symlink(target, f"{mine.paths('web').run}/{mark}")
    run_directory.check_run(mine, "web", None)  # That one has no such container any more.
    make_directory(others.paths("web").state)
    others.save(builders.record())
    run_directory.check_run(others, "web", None)
    with pytest.raises(Conflict, match="belongs to the container web in another state directory"):
        run_directory.check_run(mine, "web", None)


@pytest.mark.impure
def test_looking_at_what_runs_with_another_run_directory(tmp_path: pathlib.Path, spawn: t.Any) -> None:
    """It is only looked at, so one such container does not hide all others."""
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    for name, run in (("web", "run"), ("other", "elsewhere")):
        init = identify(spawn().pid)
        make_directory(store.paths(name).state)
        store.save(builders.record(name=name, init=init, boot=boot_id(), runtime_root=f"{tmp_path}/{run}/runc"))
    with pytest.raises(Conflict, match=f"runs with run_dir {tmp_path}/elsewhere"):
        run_directory.check_run(store, "other", store.load("other"))
    params = {"name": [], "log_lines": 0, "state_dir": store.state_dir, "run_dir": store.run_dir}
    found = oci_container_info.look(t.cast(t.Any, types.SimpleNamespace(params=params)))["containers"]
    assert [(each["name"], each["status"]) for each in found] == [("other", "running"), ("web", "running")]
