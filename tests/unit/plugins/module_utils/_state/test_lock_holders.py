# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a lock: real locks, held by this process and by a child that inherited one."""

from __future__ import annotations

import fcntl
import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._state import lock_holders

pytestmark = pytest.mark.pure


@pytest.fixture
def lock(tmp_path: pathlib.Path) -> t.Iterator[t.BinaryIO]:
    with open(tmp_path / "lock", "wb") as stream:
        yield stream


def test_a_file_that_is_open_only_has_no_holder(lock: t.BinaryIO) -> None:
    assert lock_holders.holders(lock.name) == []


def test_this_process(lock: t.BinaryIO) -> None:
    fcntl.flock(lock, fcntl.LOCK_EX)
    name = pathlib.Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    assert lock_holders.holders(lock.name) == [f"process {os.getpid()} ({name})"]
    fcntl.flock(lock, fcntl.LOCK_UN)
    assert lock_holders.holders(lock.name) == []


@pytest.mark.impure
def test_a_program_that_has_inherited_it(lock: t.BinaryIO) -> None:
    """The process that took it may be gone: /proc/locks still names that one."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    with subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()]) as child:
        try:
            lock.close()
            assert lock_holders.holders(lock.name) == [f"process {child.pid} (sleep)"]
        finally:
            child.kill()


def test_a_path_through_a_link(lock: t.BinaryIO, tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert len(lock_holders.holders(f"{tmp_path}/link")) == 1


def test_a_file_that_is_gone(tmp_path: pathlib.Path) -> None:
    assert lock_holders.holders(f"{tmp_path}/nowhere") == []
