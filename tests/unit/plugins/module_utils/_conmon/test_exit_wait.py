# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for the files in which conmon says how a container ended."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.process import boot_id, identify
from ansible_collections.longshore.oci.plugins.module_utils._conmon import exit_wait
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("0", 0, "exited"), ("3\n", 3, "exited"), ("128", 128, "exited"), ("137", 137, "killed"), ("192", 192, "killed"),
        ("193", 193, "exited"), ("255", 255, "exited"), ("-1", None, "monitor-timeout"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["exit", "web"])
@pytest.mark.parametrize("place", ["exits", "persist"])
def test_a_code(exit_paths: Paths, place: str, name: str, text: str, code: int | None, reason: str) -> None:
    path = f"{getattr(exit_paths, place)}/{name}"
    pathlib.Path(path).write_text(text, encoding="ascii")
    found = exit_wait.collect_exit(builders.record(boot=boot_id()), exit_paths, Deadline(0))
    assert (found.code, found.reason, found.oom) == (code, reason, False)
    assert found.finished_at is not None


@pytest.mark.parametrize("place", ["exits", "persist", "bundle"])
def test_the_mark_of_a_lack_of_memory(exit_paths: Paths, place: str) -> None:
    pathlib.Path(getattr(exit_paths, place), "oom").touch()
    pathlib.Path(exit_paths.exits, "web").write_text("137", encoding="ascii")
    assert exit_wait.collect_exit(builders.record(), exit_paths, Deadline(0)).oom


def test_no_file(exit_paths: Paths) -> None:
    assert exit_wait.collect_exit(builders.record(), exit_paths, Deadline(0)).reason == "host-rebooted"
    now = builders.record(boot=boot_id())
    assert exit_wait.collect_exit(now, exit_paths, Deadline(0)).reason == "monitor-lost"
    # conmon still lives, and has written nothing.
    lives = now.replace(monitor=identify(os.getpid()))
    assert exit_wait.collect_exit(lives, exit_paths, Deadline(0)) == (None, "no-exit-file", None, False)


def test_of_two_files_the_one_that_says_something_counts(exit_paths: Paths) -> None:
    pathlib.Path(exit_paths.exits, "web").touch()
    pathlib.Path(exit_paths.persist, "exit").write_text("4", encoding="ascii")
    assert exit_wait.collect_exit(builders.record(), exit_paths, Deadline(0)).code == 4
