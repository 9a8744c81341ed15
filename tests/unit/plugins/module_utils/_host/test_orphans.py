# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for a lost record: one for each runtime that may have state."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._host import detect, orphans
from ansible_collections.longshore.oci.plugins.module_utils._state.model import CgroupManager, Program
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.plugins.module_utils._trust import trust

pytestmark = pytest.mark.pure


class Host(detect.Host):
    """A host that has the manager cgroupfs, and conmon or not."""

    def __init__(self, conmon: Program | None) -> None:
        self._found = conmon

    def conmon(self, wanted: str | None) -> Program:
        assert wanted is None
        if self._found is None:
            raise MissingPrerequisite("conmon is not installed.")
        return self._found

    def cgroup_manager(self, wanted: CgroupManager) -> CgroupManager:
        assert wanted == "auto"
        return CgroupManager.CGROUPFS


@pytest.fixture
def store(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A run directory in which youki and a program in a directory of another user were used, and crun."""
    found = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    os.makedirs(found.run_dir)
    known = {
        "/opt/youki 1 2 3 name": "youki", "/home/x/own 1 2 3 name": "own", "/opt/crun 1 2 3 name": "crun",
        "/opt/other 1 2 3": "other version 1",
    }  # fmt: skip
    pathlib.Path(found.run_dir, "programs.json").write_text(json.dumps(known), encoding="ascii")

    def check(path: str, *_arguments: t.Any, **_options: t.Any) -> None:
        if path.startswith("/home/"):
            raise InvalidOption("Another user can change the runtime.")

    monkeypatch.setattr(trust, "check", check)
    monkeypatch.setattr(orphans, "find_program", lambda name: "/usr/bin/crun" if name == "crun" else None)
    return found


def test_each_runtime_that_is_trusted(store: Store) -> None:
    conmon = Program("conmon", "/usr/bin/conmon", "2.1.6")
    found = orphans.orphans(store, Host(conmon), "web")
    assert sorted((each.runtime.name, each.runtime.path, each.runtime_root) for each in found) == [
        ("crun", "/usr/bin/crun", f"{store.run_dir}/crun"),
        ("runc", "runc", f"{store.run_dir}/runc"),
        ("youki", "/opt/youki", f"{store.run_dir}/youki"),
    ]
    assert {(each.name, each.conmon, each.cgroup_manager, each.realm) for each in found} == {
        ("web", conmon, "cgroupfs", store.realm)
    }


def test_a_host_without_conmon_can_clear_up(store: Store) -> None:
    assert {each.conmon.path for each in orphans.orphans(store, Host(None), "web")} == {"conmon"}
