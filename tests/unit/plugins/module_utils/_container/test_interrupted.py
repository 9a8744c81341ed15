# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a container whose checkpoint or restore was interrupted."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._container import interrupted
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Checkpoint, Exit, Record, Status
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths, Store
from ansible_collections.longshore.oci.plugins.module_utils._state.unfinished import has_ended
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

ENDED = Exit(0, "exited", "2026-01-01T00:00:00Z", False)


@pytest.fixture
def paths(tmp_path: pathlib.Path) -> Paths:
    found = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run").paths("web")
    os.makedirs(found.run)
    return found


def _live(_record: Record) -> tuple[Status, str]:
    raise AssertionError("nothing lives")


def test_a_dump_that_did_not_end(paths: Paths) -> None:
    """The container ended by itself, and not on disk."""
    for checkpoint in (None, Checkpoint("/none")):
        record = builders.record(phase="checkpointing", checkpoint=checkpoint)
        found = interrupted.look(record, paths, lambda: ENDED, _live)
        assert (found.status, found.exit) == (Status.STOPPED, ENDED)


def test_a_dump_that_ends_while_it_is_looked_at(paths: Paths, tmp_path: pathlib.Path) -> None:
    record = builders.record(phase="checkpointing", checkpoint=Checkpoint(str(tmp_path)))

    def ended() -> Exit:
        (tmp_path / "dump.log").write_text("Dumping finished successfully\n", encoding="ascii")
        (tmp_path / "checkpoint").mkdir()
        (tmp_path / "checkpoint" / "inventory.img").touch()
        assert has_ended(str(tmp_path))
        return ENDED

    for _time in range(2):  # and once it is there
        found = interrupted.look(record, paths, ended if _time == 0 else lambda: ENDED, _live)
        assert (found.status, found.leftovers) == (Status.CHECKPOINTED, True)


@pytest.mark.parametrize(
    ("pidfile", "exit_", "status"),
    [
        (None, ENDED, Status.CHECKPOINTED),
        ("1", ENDED, Status.STOPPED),  # It ran, and has ended.
        ("1", ENDED._replace(finished_at=None), Status.CHECKPOINTED),
    ],
)
def test_a_restore(paths: Paths, pidfile: str | None, exit_: Exit, status: Status) -> None:
    if pidfile:
        pathlib.Path(paths.pidfile).write_text(pidfile, encoding="ascii")
    record = builders.record(phase="restoring")
    assert interrupted.restored(record, paths) is None
    assert interrupted.look(record, paths, lambda: exit_, _live).status is status


def test_processes_in_another_cgroup_are_not_the_container(paths: Paths) -> None:
    for path in (paths.pidfile, paths.conmon_pidfile):
        pathlib.Path(path).write_text(str(os.getpid()), encoding="ascii")
    assert interrupted.restored(builders.record(phase="restoring"), paths) is None
