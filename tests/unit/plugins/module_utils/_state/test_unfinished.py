# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import layout
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import WrongState
from ansible_collections.longshore.oci.plugins.module_utils._state import unfinished
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Checkpoint, Record
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths, Store
from ansible_collections.longshore.oci.tests.unit import builders, programs

pytestmark = pytest.mark.pure


@pytest.fixture
def paths(tmp_path: pathlib.Path) -> Paths:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run").paths("web")


def put(paths: Paths, name: str, *files: str) -> str:
    """Make a directory among the checkpoints, with files in it."""
    path = f"{paths.state}/checkpoints/{name}"
    for file in files:
        os.makedirs(os.path.dirname(f"{path}/{file}"), exist_ok=True)
        text = "Dumping finished successfully" if file == "dump.log" else "{}"
        pathlib.Path(path, file).write_text(text, encoding="utf-8")
    os.makedirs(path, exist_ok=True)
    return path


WHOLE = ("checkpoint/inventory.img", "dump.log", unfinished.MANIFEST)


def _of_the_dead(prefix: str) -> str:
    text = f"from {unfinished.__name__} import own_name; print(own_name({prefix!r}))"
    argv = [sys.executable, "-c", text]
    return subprocess.run(
        argv, env=programs.python_environment(), capture_output=True, text=True, check=True
    ).stdout.strip()


def record(path: str, phase: str) -> Record:
    return builders.record(phase=phase, checkpoint=Checkpoint(path))


def test_the_manifest_is_that_of_an_archive() -> None:
    assert unfinished.MANIFEST == layout.MANIFEST


@pytest.mark.impure
def test_what_is_made_says_of_which_task_it_is() -> None:
    mine, another = unfinished.own_name(unfinished.WORK), unfinished.own_name(unfinished.WORK)
    assert mine != another
    assert not unfinished.is_abandoned(mine)
    assert unfinished.is_abandoned(_of_the_dead(unfinished.WORK))
    # The same number, at another time.
    pid, start = mine.split("-")[1:3]
    assert unfinished.is_abandoned(f".work-{pid}-{int(start) - 1}-00000000")
    # Of somebody else.
    assert not any(map(unfinished.is_abandoned, (".work-", ".work-a-b-c", ".work-1-2-3-4", "")))


@pytest.mark.parametrize("phase", ["checkpointing", "restoring"])
def test_who_is_in_the_middle_of_it_is_not_done(paths: Paths, phase: str) -> None:
    assert unfinished.is_unfinished(paths, record(put(paths, "20260101", *WHOLE), phase))


def test_a_whole_checkpoint_is_nothing_to_be_ended(paths: Paths) -> None:
    path = put(paths, "20260101", *WHOLE)
    assert not unfinished.is_unfinished(paths, record(path, "checkpointed"))
    # That of one that runs, made with leave_running.
    assert not unfinished.is_unfinished(paths, builders.record())
    assert not unfinished.is_unfinished(paths, None)
    # And what another task is receiving just now.
    put(paths, unfinished.own_name(unfinished.WORK), "spec.dump")
    assert not unfinished.is_unfinished(paths, None)


def test_what_was_restored_from_it_runs(paths: Paths) -> None:
    assert unfinished.is_unfinished(paths, record(put(paths, "20260101", *WHOLE), "running"))


def test_the_manifest_of_a_dump_that_came_to_its_end_is_missing(paths: Paths) -> None:
    path = put(paths, "20260101", "checkpoint/inventory.img", "dump.log", unfinished.PENDING)
    assert unfinished.is_unfinished(paths, record(path, "checkpointed"))


@pytest.mark.impure
def test_what_is_of_no_use(paths: Paths) -> None:
    own = put(paths, "20260102", *WHOLE)
    older = put(paths, "20260101", *WHOLE)
    put(paths, "20260103", *WHOLE)
    half = put(paths, "20260104", "checkpoint/inventory.img")
    work, note = (put(paths, _of_the_dead(prefix)) for prefix in (unfinished.WORK, unfinished.NOTE))
    put(paths, unfinished.own_name(unfinished.WORK))
    assert sorted(unfinished.left(paths, record(own, "checkpointed"))) == sorted([older, half, work, note])
    # The older one counts where the later one does not.
    assert sorted(unfinished.left(paths, builders.record())) == sorted([half, work, note])
    # What a container is being restored from is never of no use.
    assert work not in unfinished.left(paths, record(work, "restoring"))


def test_a_dump_that_may_be_all_that_there_is_of_a_container_is_left_alone(paths: Paths) -> None:
    path = put(paths, "20260101", "checkpoint/inventory.img", "dump.log", unfinished.PENDING)
    assert unfinished.left(paths, None) == []
    assert unfinished.left(paths, builders.record()) == [path]


@pytest.mark.parametrize("gone", ["checkpoint/inventory.img", unfinished.MANIFEST])
def test_a_checkpoint_that_is_not_there_any_more(paths: Paths, gone: str) -> None:
    path = put(paths, "20260101", *WHOLE)
    unfinished.check_whole("web", Checkpoint(path))
    os.unlink(f"{path}/{gone}")
    with pytest.raises(WrongState, match="The checkpoint of the container web is not there any more") as caught:
        unfinished.check_whole("web", Checkpoint(path))
    assert "restore: false" in caught.value.hint
    with pytest.raises(WrongState):
        unfinished.check_whole("web", None)
