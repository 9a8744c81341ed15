# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.checkpoints import Checkpoints
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.plan import Action, Goal
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.request import Request
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.restore import Wanted
from ansible_collections.longshore.oci.plugins.module_utils._host import remembered
from ansible_collections.longshore.oci.plugins.module_utils._state.model import CgroupManager, Checkpoint, Status
from ansible_collections.longshore.oci.tests.unit import builders, bundle, programs, stored


class Place:
    """A container that is checkpointed, and a runtime that restores nothing."""

    def __init__(self, directory: pathlib.Path, cgroup: str) -> None:
        self.own = Checkpoints(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        self.store = self.own.store
        (directory / "bundle").mkdir()
        bundle.make(directory / "bundle", "sleep", "60")
        runtime = programs.script(directory / "other", 'test "$1" != --version || { echo other 1.0; exit; }; exit 1')
        self.wanted = {
            "bundle": f"{directory}/bundle",
            "runtime": runtime,
            "cgroup_manager": CgroupManager.CGROUPFS,
            "cgroup_parent": cgroup,
        }
        self.spec = builders.config(root={"path": f"{directory}/bundle/rootfs"}, linux={})
        self.path = stored.write(f"{self.store.paths('web').state}/checkpoints/1", stored.manifest(), self.spec)
        self.store.save(builders.record(phase="checkpointed", checkpoint=Checkpoint(self.path)))

    def converge(self, goal: Goal, new_name: str | None = None, **changes: t.Any) -> t.Any:
        wanted = Wanted(new_name, self.wanted) if goal is Goal.RESTORED else Wanted()
        return self.own.converge(Request("web", goal, wanted=wanted, timeout=30, **changes))


@pytest.fixture
def place(tmp_path: pathlib.Path, scratch_cgroup: str) -> Place:
    return Place(tmp_path, scratch_cgroup)


def test_it_is_removed_and_described(place: Place) -> None:
    done = place.converge(Goal.ABSENT)
    assert (done.plan.actions, done.before.status, done.after.status) == (
        (Action.DELETE,),
        Status.CHECKPOINTED,
        Status.STOPPED,
    )
    assert done.checkpoint.path == place.path
    assert not os.path.exists(place.path)
    record = place.store.load("web")
    assert record is not None
    assert (record.phase, record.checkpoint, record.last_exit and record.last_exit.reason) == (
        "removed",
        None,
        "checkpoint-deleted",
    )
    assert place.converge(Goal.ABSENT).plan.actions == ()


def test_a_damaged_one_is_removed(place: Place) -> None:
    pathlib.Path(place.path, "longshore.json").write_text('{"format": 1, "name": 5}')
    assert place.converge(Goal.ABSENT).plan.actions == (Action.DELETE,)
    assert not os.path.exists(place.path)


def test_the_archive_is_written_later(place: Place, tmp_path: pathlib.Path) -> None:
    done = place.converge(Goal.CHECKPOINTED, archive=f"{tmp_path}/web.tar", compression="gzip")
    assert done.plan.actions == (Action.EXPORT,)
    assert (done.checkpoint.archive, done.checkpoint.size) == (
        f"{tmp_path}/web.tar",
        os.path.getsize(tmp_path / "web.tar"),
    )
    assert place.converge(Goal.CHECKPOINTED, archive=f"{tmp_path}/web.tar").plan.actions == ()


@pytest.mark.parametrize("new_name", [None, "there"])
def test_a_restore_that_fails_leaves_the_checkpoint(place: Place, new_name: str | None) -> None:
    with pytest.raises(ProgramFailed):
        place.converge(Goal.RESTORED, new_name)
    assert place.own.converge(Request("web", Goal.CHECKPOINTED)).after.status is Status.CHECKPOINTED
    assert os.listdir(os.path.dirname(place.path)) == ["1"]
    assert not os.path.exists(place.store.paths("there").state)
    # The next task finds by it what a killed restore has left.
    assert remembered.runtimes(place.store.run_dir) == {"other": place.wanted["runtime"]}
