# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pipe whose content a process appends to a log."""

from __future__ import annotations

import os
import pathlib
import signal
import stat
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd
from ansible_collections.longshore.oci.plugins.module_utils._base.process import (
    ProcessId,
    identify,
    is_alive,
    parent_of,
)
from ansible_collections.longshore.oci.plugins.module_utils._conmon.log_pipe import log_pipe


def _write(path: pathlib.Path, script: str) -> ProcessId:
    """Run a script with the pipe as its output, and return the ended writer of the log."""
    found: list[ProcessId | None] = []
    with log_pipe(str(path), lambda pid: found.append(identify(pid))) as name:
        assert found[0] is not None
        assert parent_of(found[0].pid) != os.getpid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # as at a shutdown
            os.kill(found[0].pid, number)
        with open(name, "ab") as output:
            subprocess.run(["sh", "-c", script], stdout=output, stderr=output, check=True)
        assert is_alive(found[0])
    with PidFd(found[0]) as writer:
        assert writer.wait(Deadline(10))
    return found[0]


@pytest.mark.parametrize(
    "script",
    [
        "echo b; echo c", "echo b >/dev/stdout; echo c >/dev/stderr", "echo b; : >/dev/stdout; echo c",
        "echo b; truncate --size 0 /dev/stdout 2>/dev/null; echo c", "echo b; exec >/dev/stdout 2>&1; echo c >&2",
    ],
)  # fmt: skip
def test_everything_is_appended(tmp_path: pathlib.Path, script: str) -> None:
    path = tmp_path / "log of 'it'"
    path.write_text("a\n", encoding="ascii")
    os.chmod(path, 0o640)
    _write(path, script)
    assert path.read_text(encoding="ascii") == "a\nb\nc\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_log_is_private(tmp_path: pathlib.Path) -> None:
    _write(tmp_path / "log", "head -c 200000 /dev/zero")
    found = (tmp_path / "log").stat()
    assert (found.st_size, stat.S_IMODE(found.st_mode)) == (200000, 0o600)


def test_a_pipe_of_another_user(tmp_path: pathlib.Path) -> None:
    """A runtime gives the output to the user of the container."""
    path = tmp_path / "log"
    with log_pipe(str(path), lambda _pid: None) as name:
        os.chown(name, 1000, 1000)
    assert path.stat().st_uid == os.geteuid()


def test_an_error_leaves_nothing(tmp_path: pathlib.Path, open_files: t.Callable[[], dict[str, str]]) -> None:
    before = open_files()
    with pytest.raises(IsADirectoryError), log_pipe(str(tmp_path), lambda _pid: None):
        pass
    found: list[ProcessId | None] = []
    with pytest.raises(ZeroDivisionError), log_pipe(f"{tmp_path}/log", lambda pid: found.append(identify(pid))):
        raise ZeroDivisionError
    with PidFd(found[0]) as writer:
        assert writer.wait(Deadline(10))
    assert open_files() == before
