# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that were killed in a checkpoint or restore, as far as no CRIU is needed: by what they have left on disk."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Manifest
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import WrongState
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, boot_id, identify
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import checkpoint_store
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.checkpoints import Checkpoints
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.plan import Action, Goal
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.request import Request
from ansible_collections.longshore.oci.plugins.module_utils._container.observe import observe
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import recovery
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._state import names, unfinished
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Checkpoint,
    Definition,
    Desired,
    Record,
    Status,
    Timeouts,
)
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Goal as ContainerGoal
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, killing

QUICK = Timeouts(stop=0, kill=5)


class Place:
    """A container as a killed task has left it."""

    def __init__(self, directory: pathlib.Path, spawn: t.Any) -> None:
        self.state, self.run = f"{directory}/state", f"{directory}/run"
        self.store = Store(state_dir=self.state, run_dir=self.run)
        self.paths = self.store.paths("web")
        self.spawn = spawn

    def checkpoint(self, name: str, *, manifest: bool = True, log: str = "dump-good", **known: t.Any) -> str:
        path = f"{self.paths.state}/checkpoints/{name}"
        os.makedirs(f"{path}/checkpoint")
        text = builders.transcript("criu", "4.1.1", f"{log}.log.txt")
        pathlib.Path(path, "dump.log").write_text(text, encoding="utf-8")
        pathlib.Path(path, "spec.dump").write_text("{}", encoding="utf-8")
        pathlib.Path(path, "checkpoint", "inventory.img").write_text("images", encoding="utf-8")
        text = json.dumps({"format": 1, "name": "web", **known})
        pathlib.Path(path, "longshore.json" if manifest else "pending.json").write_text(text, encoding="utf-8")
        return path

    def record(self, phase: str, **changes: t.Any) -> Record:
        os.makedirs(self.paths.state, exist_ok=True)
        values: dict[str, t.Any] = {"boot": boot_id(), "runtime_root": f"{self.run}/runc", "realm": self.store.realm}
        return self.store.save(builders.record(phase=phase, **{**values, **changes}))

    def alive(self) -> ProcessId:
        found = identify(self.spawn().pid)
        assert found is not None
        return found

    def recover(self) -> Record:
        record = recovery.recover(self.store, "web", QUICK)
        assert record is not None
        assert record == self.store.load("web")
        assert not observe(self.store, "web").unfinished
        return record

    def checkpoints(self) -> list[str]:
        top = f"{self.paths.state}/checkpoints"
        return sorted(os.listdir(top)) if os.path.isdir(top) else []

    def whole(self) -> str | None:
        found = checkpoint_store.newest(self.store, "web")
        return found and os.path.basename(found.path)

    def converge(self, goal: Goal, **changes: t.Any) -> t.Any:
        return Checkpoints(state_dir=self.state, run_dir=self.run).converge(Request("web", goal, timeout=10, **changes))


@pytest.fixture
def place(tmp_path: pathlib.Path, spawn: t.Any) -> Place:
    return Place(tmp_path, spawn)


class TestDump:
    def test_one_that_came_to_nothing(self, place: Place) -> None:
        place.checkpoint("1")
        half = place.checkpoint("2", manifest=False, log="dump-connected")
        place.record("checkpointing", init=place.alive(), checkpoint=Checkpoint(half))
        assert observe(place.store, "web").unfinished
        record = place.recover()
        assert (record.phase, record.checkpoint, place.checkpoints(), place.whole()) == ("running", None, ["1"], "1")

    def test_one_that_let_the_container_go_on_and_is_whole(self, place: Place) -> None:
        place.checkpoint("1")
        place.record("checkpointing", init=place.alive(), checkpoint=Checkpoint(place.checkpoint("2")))
        record = place.recover()
        assert (record.phase, record.checkpoint, place.checkpoints(), place.whole()) == ("running", None, ["2"], "2")

    @pytest.mark.pure
    def test_one_that_came_to_its_end(self, place: Place) -> None:
        place.checkpoint("1")
        path = place.checkpoint("2", manifest=False, paused=True, export="/srv/web.tar")
        place.record("checkpointing", init=ProcessId(1 << 30, 1, "x"), checkpoint=Checkpoint(path))
        record = place.recover()
        assert (record.phase, place.checkpoints(), place.whole()) == ("checkpointed", ["2"], "2")
        found = checkpoint_store.newest(place.store, "web")
        assert found is not None
        assert found.manifest == Manifest("web", export="/srv/web.tar")

    @pytest.mark.pure
    def test_one_in_which_the_container_has_ended(self, place: Place) -> None:
        half = place.checkpoint("1", manifest=False, log="dump-connected")
        place.record("checkpointing", init=ProcessId(1 << 30, 1, "x"), checkpoint=Checkpoint(half))
        assert place.recover().phase is Phase.RUNNING
        assert observe(place.store, "web").status is Status.STOPPED
        assert place.checkpoints() == []

    @pytest.mark.pure
    @pytest.mark.parametrize("manifest", [False, True])
    def test_one_that_was_to_let_the_container_go_on_which_has_ended_since(self, place: Place, manifest: bool) -> None:
        """It has changed its files meanwhile, so it must not go on from that memory."""
        path = place.checkpoint("1", manifest=manifest, options={"leave_running": True})
        place.record("checkpointing", init=ProcessId(1 << 30, 1, "x"), checkpoint=Checkpoint(path))
        os.makedirs(place.paths.exits)
        pathlib.Path(place.paths.exits, "web").write_text("3", encoding="utf-8")
        for _each in range(2):
            seen = observe(place.store, "web")
            assert (seen.status, seen.exit and seen.exit.code) == (Status.STOPPED, 3)
            place.recover()
        assert place.whole() == ("1" if manifest else None)

    @pytest.mark.parametrize("paused", [False, True])
    def test_what_it_has_frozen_goes_on_and_what_was_paused_stays(
        self, place: Place, scratch_cgroup: str, paused: bool
    ) -> None:
        init = place.alive()
        cgroup.place(scratch_cgroup, init.pid)
        _freeze(scratch_cgroup)
        half = place.checkpoint("1", manifest=False, log="dump-connected", paused=paused)
        place.record("checkpointing", init=init, checkpoint=Checkpoint(half), cgroup_path=scratch_cgroup)
        try:
            place.recover()
            assert observe(place.store, "web").status is (Status.PAUSED if paused else Status.RUNNING)
        finally:
            cgroup_removal.thaw(scratch_cgroup)


def _freeze(path: str) -> None:
    for directory in cgroup.directories(path):
        for name, value in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
            if os.path.exists(f"{directory}/{name}"):
                pathlib.Path(directory, name).write_text(value, encoding="utf-8")


class TestRestore:
    @pytest.mark.pure
    def test_one_of_which_nothing_runs(self, place: Place) -> None:
        path = place.checkpoint("1")
        place.record("restoring", checkpoint=Checkpoint(path, (), True))
        os.makedirs(place.paths.exits)
        record = place.recover()
        assert (record.phase, place.whole(), os.path.exists(place.paths.run)) == ("checkpointed", "1", False)

    def _running(self, place: Place, **changes: t.Any) -> Record:
        """conmon has gone on, and the container runs."""
        init, monitor = place.alive(), place.alive()
        os.makedirs(place.paths.exits)
        pathlib.Path(place.paths.pidfile).write_text(str(init.pid), encoding="utf-8")
        pathlib.Path(place.paths.conmon_pidfile).write_text(str(monitor.pid), encoding="utf-8")
        pathlib.Path(place.paths.state, "config.json").write_text(
            '{"linux": {}, "root": {"path": "/"}}', encoding="utf-8"
        )
        values = {"checkpoint": Checkpoint(f"{place.paths.state}/checkpoints/1", (), True), **changes}
        return place.record("restoring", **values)

    @pytest.mark.parametrize("once", [True, False])
    def test_one_that_has_come_to_its_end_is_not_made_twice(
        self, place: Place, scratch_cgroup: str, once: bool
    ) -> None:
        path = place.checkpoint("1")
        record = self._running(
            place, definition=builders.definition(cgroup_parent=scratch_cgroup), checkpoint=Checkpoint(path, (), once)
        )
        where = names.container_cgroup(record)
        init = int(pathlib.Path(place.paths.pidfile).read_text(encoding="utf-8"))
        assert observe(place.store, "web").status is Status.CHECKPOINTED  # That process is in no cgroup of it.
        cgroup.place(where, init)
        try:
            seen = observe(place.store, "web")
            assert (seen.status, seen.monitored, seen.unfinished) == (Status.RUNNING, True, True)
            record = place.recover()
            assert record.init is not None
            assert (record.phase, record.init.pid, record.checkpoint) == ("running", init, None)
            assert place.checkpoints() == ([] if once else ["1"])
        finally:
            cgroup_removal.kill(where, Deadline(5))
            cgroup_removal.remove(where)

    def test_one_that_has_ended_since_is_not_made_twice(self, place: Place) -> None:
        place.checkpoint("1")
        self._running(place)
        pathlib.Path(place.paths.pidfile).write_text(str(1 << 30), encoding="utf-8")
        pathlib.Path(place.paths.exits, "web").write_text("3", encoding="utf-8")
        seen = observe(place.store, "web")
        assert (seen.status, seen.exit and seen.exit.code) == (Status.STOPPED, 3)
        place.recover()
        seen = observe(place.store, "web")
        assert (seen.status, seen.exit and seen.exit.code) == (Status.STOPPED, 3)
        assert place.checkpoints() == []


class TestUsedUp:
    """Restored, and killed before the checkpoint was removed: it is never restored a second time."""

    def test_it_does_not_count_and_is_removed(self, place: Place) -> None:
        place.checkpoint("1")
        place.record("running", init=place.alive(), checkpoint=Checkpoint(place.checkpoint("2")))
        assert place.whole() == "1"
        assert place.recover().checkpoint is None
        assert place.checkpoints() == ["1"]

    @pytest.mark.parametrize("goal", [Goal.RESTORED, Goal.ABSENT])
    def test_whatever_comes_next(self, place: Place, goal: Goal) -> None:
        place.record("running", init=place.alive(), checkpoint=Checkpoint(place.checkpoint("1")))
        assert place.converge(goal).plan.actions == (Action.RECOVER,)
        assert (place.checkpoints(), place.converge(goal).plan.actions) == ([], ())


class TestAbsent:
    def test_killed_at_each_step(self, tmp_path: pathlib.Path, spawn: t.Any) -> None:
        """The record never names a checkpoint that is gone, and the next task of each kind has what it needs."""

        def place(number: object) -> Place:
            made = Place(tmp_path / str(number), spawn)
            made.record("checkpointed", checkpoint=Checkpoint(made.checkpoint("1")))
            return made

        def task(made: Place) -> t.Callable[[], object]:
            return lambda: made.converge(Goal.ABSENT)

        steps = killing.steps(task(place("whole")))
        assert any("inventory.img" in step for step in steps)
        for number, step in enumerate(steps):
            made = place(number)
            assert killing.kill(task(made), at=number).was_killed
            record = made.store.load("web")
            assert record is not None
            assert record.phase is Phase.REMOVED or made.whole() == "1", step
            made.converge(Goal.ABSENT)
            assert (made.checkpoints(), made.converge(Goal.ABSENT).plan.actions) == ([], ()), step
            assert observe(made.store, "web").status is Status.STOPPED, step


class TestGone:
    """The record says that it is checkpointed, and there is no checkpoint: it was removed by hand, or by an earlier release."""

    @pytest.fixture(params=["all", "longshore.json", "checkpoint/inventory.img"])
    def gone(self, place: Place, request: pytest.FixtureRequest) -> Place:
        path = place.checkpoint("1")
        place.record(
            "checkpointed", definition=Definition(str(place.state)), checkpoint=Checkpoint(path), config_digest=""
        )  # fmt: skip
        text = json.dumps(
            {**builders.config(), "root": {"path": place.state}, "ociVersion": "1.0.2", "linux": {"cgroupsPath": "/x"}}
        )
        pathlib.Path(place.paths.state, "config.json").write_text(text, encoding="utf-8")
        if request.param == "all":
            unfinished.discard(path)
        else:
            os.unlink(f"{path}/{request.param}")
        return place

    def test_a_start_says_what_to_do(self, gone: Place) -> None:
        engine = Containers(state_dir=gone.state, run_dir=gone.run)
        with pytest.raises(WrongState, match="The checkpoint of the container web is not there any more") as caught:
            engine.converge(Desired("web", ContainerGoal.STARTED, timeouts=QUICK))
        assert "restore: false" in caught.value.hint

    @pytest.mark.pure
    def test_a_restore_says_so(self, gone: Place) -> None:
        with pytest.raises(WrongState, match=r"There is no checkpoint of|is not there any more"):
            gone.converge(Goal.RESTORED)

    @pytest.mark.pure
    def test_it_can_be_let_go_of(self, gone: Place) -> None:
        gone.converge(Goal.ABSENT)
        assert observe(gone.store, "web").status is Status.STOPPED
        assert gone.checkpoints() == []
