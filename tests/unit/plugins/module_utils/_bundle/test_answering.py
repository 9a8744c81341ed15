# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems that do not answer: real mounts of FUSE, behind which there is no program."""

from __future__ import annotations

import os
import pathlib
import time

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import DeadlineExceeded
from ansible_collections.longshore.oci.plugins.module_utils._bundle import answering
from ansible_collections.longshore.oci.tests.unit.fuse import dead

READ = [False, True]


@pytest.mark.parametrize("is_read", READ, ids=["waiting", "read"])
@pytest.mark.parametrize("way", ["m", "m/below/it", "link", "relative/x", "other/../m/x", "chain"])
def test_a_path_that_does_not_answer_is_named(tmp_path: pathlib.Path, way: str, is_read: bool) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("x")
    (tmp_path / "link").symlink_to(f"{tmp_path}/m/file")
    (tmp_path / "relative").symlink_to("other/../m")
    (tmp_path / "chain").symlink_to("link")
    with dead(tmp_path / "m", is_read=is_read):
        before = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=rf"{tmp_path}/{way} did not answer in time\. It is on a network"):
            answering.check([f"{tmp_path}/other/file", f"{tmp_path}/{way}", f"{tmp_path}/m/z"], Deadline(1))
        assert 0.9 < time.monotonic() - before < 5


def test_other_paths_do_not_wait(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They start no program either."""
    monkeypatch.setattr(answering, "ask", None)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "up").symlink_to("../../../../../../../../../../..")
    with dead(tmp_path / "m"):
        paths = [
            "",
            "relative",
            "/",
            "/proc/self",
            *(f"{tmp_path}/{name}" for name in ("fifo", "loop", "up", "none/x", "mm")),
        ]
        answering.check(paths, Deadline(1))


def test_those_that_answer_pass(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a directory, a FIFO, one that is not there, a name that a shell could take for something else."""
    monkeypatch.setattr(mountinfo, "is_remote", bool)  # All file systems.
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "-n $(x) '\n").write_text("x")
    answering.check([f"{tmp_path}/{name}" for name in ("", "fifo", "none", "-n $(x) '\n")], Deadline(20))
