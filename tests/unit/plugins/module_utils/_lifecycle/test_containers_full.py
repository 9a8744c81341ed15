# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that are full or read-only: a container is stopped and removed nonetheless, and an error is a sentence."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd
from ansible_collections.longshore.oci.plugins.module_utils._base.process import is_alive
from ansible_collections.longshore.oci.plugins.module_utils._exec import detached, run
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._exec.request import Limits
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Definition,
    Desired,
    Goal,
    Record,
    Status,
    Timeouts,
)
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import bundle

FULL = ("no blocks", "no inodes", "read-only")


class Place:
    """A container, and a small file system for each of the two directories."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.name = f"full-{os.getpid()}-{os.urandom(3).hex()}"
        (directory / "bundle").mkdir()
        self.definition = Definition(bundle.make(directory / "bundle", "sleep", "1000"))
        self.state, self.run = str(directory / "state"), str(directory / "run")
        for path in (self.state, self.run):
            os.mkdir(path)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=200,mode=700", "none", path], check=True)

    def converge(self, goal: Goal) -> t.Any:
        desired = Desired(self.name, goal, self.definition, timeouts=Timeouts(stop=0, create=10))
        return Containers(state_dir=self.state, run_dir=self.run).converge(desired)

    def store(self) -> Store:
        return Store(state_dir=self.state, run_dir=self.run)

    def observe(self) -> t.Any:
        return Containers(state_dir=self.state, run_dir=self.run).observe(self.name)

    def fill(self, path: str, how: str) -> None:
        if how == "read-only":
            # conmon has its log open for writing there: that is how a disk becomes read-only by itself, too.
            subprocess.run(["mount", "--bind", path, path], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
            return
        with contextlib.suppress(OSError):
            for number in itertools.count():
                with open(f"{path}/filling{number if how == 'no inodes' else ''}", "ab") as stream:
                    stream.write(b"" if how == "no inodes" else b"x" * 4096)

    def make_room(self, path: str, how: str) -> None:
        if how == "read-only":
            subprocess.run(["umount", path], check=True)
        for name in os.listdir(path):
            if name.startswith("filling"):
                os.unlink(f"{path}/{name}")


@pytest.fixture
def place(tmp_path: pathlib.Path) -> t.Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.converge(Goal.ABSENT)
    for path in (made.state, made.run):
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("how", FULL)
def test_stopped_and_removed_with_a_full_run_directory(place: Place, how: str) -> None:
    record = t.cast(Record, place.converge(Goal.STARTED).after.record)
    place.fill(place.run, how)
    try:
        stopped = place.converge(Goal.STOPPED).after
        # conmon writes there first.
        assert (stopped.status, stopped.exit.code) == (Status.STOPPED, None if how == "read-only" else 137)
        assert not is_alive(record.init)
        if how == "read-only":
            # What is in there cannot go. All else has.
            with pytest.raises(LongshoreError, match=f"{place.run}.*Read-only file system"):
                place.converge(Goal.ABSENT)
            assert cgroup.directories(record.cgroup_path) == []
        else:
            assert place.converge(Goal.ABSENT).after.status is Status.ABSENT
            assert os.listdir(f"{place.run}/containers") == os.listdir(f"{place.run}/locks") == []
    finally:
        place.make_room(place.run, how)
    assert place.converge(Goal.ABSENT).after.status is Status.ABSENT


@pytest.mark.parametrize("how", FULL)
def test_stopped_and_removed_with_a_full_state_directory(place: Place, how: str) -> None:
    record = t.cast(Record, place.converge(Goal.STARTED).after.record)
    place.fill(place.state, how)
    try:
        stopped = place.converge(Goal.STOPPED).after
        assert (stopped.status, stopped.exit.code) == (Status.STOPPED, 137)
        assert not is_alive(record.init)
        assert place.converge(Goal.STOPPED).actions == ()
        if how == "read-only":
            with pytest.raises(LongshoreError, match=f"{place.state}.*Read-only file system"):
                place.converge(Goal.ABSENT)
            assert cgroup.directories(record.cgroup_path) == []
        else:
            assert place.converge(Goal.ABSENT).after.status is Status.ABSENT
            assert os.listdir(f"{place.state}/containers") == []
    finally:
        place.make_room(place.state, how)
    assert place.converge(Goal.ABSENT).after.status is Status.ABSENT


@pytest.mark.parametrize("how", ["no blocks", "no inodes"])
def test_stopped_and_removed_with_both_directories_full(place: Place, how: str) -> None:
    record = t.cast(Record, place.converge(Goal.STARTED).after.record)
    for path in (place.state, place.run):
        place.fill(path, how)
    try:
        stopped = place.converge(Goal.STOPPED).after
        assert (stopped.status, stopped.exit.code) == (Status.STOPPED, 137)
        assert not is_alive(record.init)
        assert place.converge(Goal.ABSENT).after.status is Status.ABSENT
        assert os.listdir(f"{place.state}/containers") == os.listdir(f"{place.run}/containers") == []
    finally:
        for path in (place.state, place.run):
            place.make_room(path, how)


@pytest.mark.parametrize("how", FULL)
def test_a_restart_is_refused_before_the_container_is_stopped(place: Place, how: str) -> None:
    """There is no room for the record of the next one."""
    record = t.cast(Record, place.converge(Goal.STARTED).after.record)
    place.fill(place.state, how)
    try:
        with pytest.raises(LongshoreError, match="Cannot write"):
            place.converge(Goal.RESTARTED)
        assert is_alive(record.init)
    finally:
        place.make_room(place.state, how)
    assert place.converge(Goal.RESTARTED).after.status is Status.RUNNING


@pytest.mark.parametrize("how", FULL)
@pytest.mark.parametrize("directory", ["state", "run"])
def test_the_exit_code_is_not_lost(place: Place, directory: str, how: str) -> None:
    """Of a container that ends by itself. No program keeps room in a file system that is read-only: a disk becomes that by an error,
    and the run directory is in memory."""
    path = pathlib.Path(place.definition.bundle, "config.json")
    config = json.loads(path.read_text(encoding="utf-8"))
    config["process"]["args"] = ["sh", "-c", "while test ! -e /end; do sleep 0.05; done; exit 7"]
    path.write_text(json.dumps(config), encoding="utf-8")
    record = t.cast(Record, place.converge(Goal.STARTED).after.record)
    place.fill(getattr(place, directory), how)
    try:
        pathlib.Path(place.definition.bundle, "rootfs", "end").touch()
        with PidFd(record.init) as init:
            assert init.wait(Deadline(10))
        seen = place.observe()
        expected = None if (directory, how) == ("run", "read-only") else 7
        assert (seen.status, seen.exit.code) == (Status.STOPPED, expected)
    finally:
        place.make_room(getattr(place, directory), how)


def test_the_container_does_not_get_what_keeps_the_room(place: Place) -> None:
    record = t.cast(Record, place.converge(Goal.STARTED).after.record)
    assert record.init is not None
    assert record.monitor is not None
    found = [os.readlink(f"/proc/{record.init.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{record.init.pid}/fd")]
    assert not [name for name in found if name.startswith(place.run)]
    kept = [os.readlink(f"/proc/{record.monitor.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{record.monitor.pid}/fd")]
    assert len([name for name in kept if name.startswith(f"{place.run}/") and name.endswith(" (deleted)")]) == 1


@pytest.mark.parametrize("how", FULL)
@pytest.mark.parametrize("directory", ["state", "run"])
@pytest.mark.parametrize("goal", [Goal.STARTED, Goal.RESTARTED, Goal.ABSENT])
def test_an_error_is_a_sentence(place: Place, directory: str, how: str, goal: Goal) -> None:
    """And with room again, the next task does what it is told."""
    place.converge(Goal.ABSENT if goal is Goal.STARTED else Goal.STARTED)
    path = getattr(place, directory)
    place.fill(path, how)
    try:
        with contextlib.suppress(LongshoreError):
            place.converge(goal)
    finally:
        place.make_room(path, how)
    assert place.converge(Goal.STARTED).after.status is Status.RUNNING


@pytest.mark.parametrize("how", FULL)
@pytest.mark.parametrize("directory", ["state", "run"])
def test_a_command_in_the_background(place: Place, directory: str, how: str) -> None:
    """One ends by itself, and one at its time limit. The files of a session keep no room, so its code may be lost."""
    place.converge(Goal.STARTED)
    store = place.store()
    known = {}
    for identifier, script in (("ends", "while test ! -e /end; do sleep 0.05; done; exit 7"), ("stays", "sleep 1000")):
        known[identifier] = run.start(store, place.name, Command(("sh", "-c", script)), session=identifier)[0]
    place.fill(getattr(place, directory), how)
    try:
        pathlib.Path(place.definition.bundle, "rootfs", "end").touch()
        found = detached.finish(store, place.name, "ends", limits=Limits(run=30))
        assert (found.rc, found.timed_out) == (7 if directory == "state" else None, False)
        found = detached.finish(store, place.name, "stays", limits=Limits(run=0, stop=5))
        assert (found.rc, found.timed_out) == (143 if directory == "state" else None, True)
        assert not any(is_alive(session.process) for session in known.values())
    finally:
        place.make_room(getattr(place, directory), how)
    assert all(detached.forget(store, place.name, identifier) for identifier in known)
