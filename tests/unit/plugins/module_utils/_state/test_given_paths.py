# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that few tasks give, with the real conmon and runc: what conmon takes, and whose the file of its pid is."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.inotify import IN_CLOSE, wait_until
from ansible_collections.longshore.oci.plugins.module_utils._base.program import find_program
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._state import given_paths
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    CgroupManager,
    Definition,
    Desired,
    Goal,
    Record,
    Status,
    Timeouts,
)
from ansible_collections.longshore.oci.tests.unit import bundle, programs

_QUICK = Timeouts(stop=0, kill=0.5)


class Place:
    """A container of its own, whose conmon writes its pid to a file beside it."""

    def __init__(self, directory: pathlib.Path, path: str) -> None:
        self.name, self.directory, self.pidfile = os.path.basename(path), directory, directory / "conmon.pid"
        self.engine = Containers(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        (directory / "bundle").mkdir()
        self.definition = Definition(
            bundle=bundle.make(directory / "bundle", "sleep", "60"), runtime="runc", cgroup_manager=CgroupManager.CGROUPFS,
            cgroup_parent=path, conmon_pidfile=str(self.pidfile),
        )  # fmt: skip

    def converge(self, goal: Goal, definition: Definition | None = None, **changes: t.Any) -> Status:
        wanted = (definition or self.definition)._replace(**changes)
        done = self.engine.converge(Desired(self.name, goal, None if goal is Goal.ABSENT else wanted, timeouts=_QUICK))
        return done.after.status

    def broken(self) -> Definition:
        """With a program that is not there: conmon runs, and says so in its pid file, and the runtime fails."""
        (self.directory / "broken").mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            bundle.make(self.directory / "broken", "/nowhere/program")
        return self.definition._replace(bundle=f"{self.directory}/broken")


@pytest.fixture
def place(tmp_path: pathlib.Path, scratch_cgroup: str) -> t.Iterator[Place]:
    made = Place(tmp_path, scratch_cgroup)
    yield made
    made.converge(Goal.ABSENT)
    cgroup_removal.remove(scratch_cgroup)


def _content(path: pathlib.Path) -> str | None:
    return path.read_text() if path.exists() else None


class TestPidFile:
    @pytest.mark.parametrize("before", [None, "4711\n"])
    def test_a_launch_that_fails_leaves_it_as_it_was(self, place: Place, before: str | None) -> None:
        if before:
            place.pidfile.write_text(before)
        with pytest.raises(LongshoreError, match="Cannot create the container"):
            place.converge(Goal.STARTED, place.broken())
        assert (place.pidfile.read_text() if before else place.pidfile.exists()) == (before or False)
        # Nor does what comes next.
        assert place.converge(Goal.ABSENT) is Status.ABSENT
        assert (place.pidfile.read_text() if before else place.pidfile.exists()) == (before or False)

    def test_it_is_of_the_container_from_when_that_is_made(self, place: Place) -> None:
        place.pidfile.write_text("4711\n")
        assert place.converge(Goal.STARTED) is Status.RUNNING
        record = t.cast(Record, place.engine.observe(place.name).record)
        assert record.monitor is not None
        assert (place.pidfile.read_text(), record.pidfile_before) == (str(record.monitor.pid), None)
        with pytest.raises(LongshoreError, match="Cannot create the container"):
            place.converge(Goal.STARTED, place.broken())
        assert not place.pidfile.exists()
        # Somebody else's by now.
        place.pidfile.write_text("4712\n")
        with pytest.raises(LongshoreError, match="Cannot create the container"):
            place.converge(Goal.STARTED, place.broken())
        assert place.pidfile.read_text() == "4712\n"

    def test_what_somebody_writes_there_is_not_removed_with_the_container(self, place: Place) -> None:
        place.converge(Goal.STARTED)
        place.pidfile.write_text("precious\n")
        assert place.converge(Goal.ABSENT) is Status.ABSENT
        assert place.pidfile.read_text() == "precious\n"
        place.pidfile.unlink()

    @pytest.mark.parametrize("before", [None, "4711\n"])
    @pytest.mark.parametrize("goal", [Goal.ABSENT, Goal.STARTED])
    def test_of_a_task_that_was_killed(self, place: Place, before: str | None, goal: Goal) -> None:
        """While the runtime makes the container, and conmon has written its pid."""
        if before:
            place.pidfile.write_text(before)
        runc = find_program("runc")
        text = f'case " $* " in *" create "*) echo >{place.directory}/at; exec sleep 60 ;; esac\nexec {runc} "$@"'
        os.mkfifo(place.directory / "at")
        os.mkdir(place.directory / "bin")
        runtime = programs.script(place.directory / "bin" / "runc", text)
        code = """
import sys
from ansible_collections.longshore.oci.plugins.module_utils._state.model import CgroupManager, Definition, Desired
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
top, name, runtime, cgroup = sys.argv[1:]
wanted = Definition(
    bundle=f"{top}/bundle", runtime=runtime, cgroup_manager=CgroupManager.CGROUPFS, cgroup_parent=cgroup, conmon_pidfile=f"{top}/conmon.pid"
)
Containers(state_dir=f"{top}/state", run_dir=f"{top}/run").converge(Desired(name, definition=wanted))
"""
        words = [str(place.directory), place.name, runtime, str(place.definition.cgroup_parent)]
        with subprocess.Popen([sys.executable, "-c", code, *words], env=programs.python_environment()) as task:
            (place.directory / "at").read_text()
            # The process of conmon that writes it runs beside the one that starts the runtime.
            assert wait_until(
                lambda: _content(place.pidfile) not in (before, None, ""),
                Deadline(30),
                path=str(place.directory),
                mask=IN_CLOSE,
            )
            task.kill()
        assert place.converge(goal) is (Status.RUNNING if goal is Goal.STARTED else Status.ABSENT)
        if goal is Goal.STARTED:
            place.converge(Goal.ABSENT)
            before = None
        assert (place.pidfile.read_text() if before else place.pidfile.exists()) == (before or False)


class TestValues:
    def test_the_largest_that_conmon_takes(self, place: Place) -> None:
        """One more is refused: see test_create."""
        assert place.converge(
            Goal.STARTED, log_size_max=2**63 - 1, exit_delay=2**31 - 1, exit_command=("/bin/true", "ä", "")
        ) is Status.RUNNING  # fmt: skip

    @pytest.mark.parametrize(
        "changes",
        [
            {"log_size_max": 2**63},
            {"exit_delay": 2**31, "exit_command": ("/bin/true",)},
            {"exit_command": ("/bin/true", "a\udcff")},
            {"conmon_pidfile": "/nowhere/pid"},
        ],
    )
    def test_one_more_leaves_the_container_as_it_is(self, place: Place, changes: dict[str, t.Any]) -> None:
        place.converge(Goal.STARTED)
        before = place.engine.observe(place.name)
        with pytest.raises(InvalidOption):
            place.converge(Goal.STARTED, **changes)
        assert place.engine.observe(place.name) == before


@pytest.mark.pure
def test_a_runtime_root_that_only_this_user_can_change() -> None:
    """Also below a directory of all users, and before it exists. For a service, such a place is refused."""
    given_paths.check(Definition("/srv/web", runtime_root="/tmp/longshore-nowhere/"), None)
