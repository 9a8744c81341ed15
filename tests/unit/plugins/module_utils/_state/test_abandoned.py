# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of a task that was killed: a real process that looks as a runtime does."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import typing as t

from ansible_collections.longshore.oci.plugins.module_utils._base import process
from ansible_collections.longshore.oci.plugins.module_utils._state import abandoned
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program
from ansible_collections.longshore.oci.tests.unit import builders


def _runtime(tmp_path: pathlib.Path) -> Program:
    """A shell that is called as the runtime: it waits, with any options."""
    path = tmp_path / "runc"
    shutil.copy("/bin/sh", path)
    return Program("runc", str(path), "1")


def _start(spawn: t.Callable[..., subprocess.Popen[bytes]], runtime: Program, log: str) -> subprocess.Popen[bytes]:
    return spawn(runtime.path, "-c", "sleep 60; :", "--log", log)


def test_the_runtime_of_this_container_alone(tmp_path: pathlib.Path, spawn: t.Any) -> None:
    runtime = _runtime(tmp_path)
    mine, others = (_start(spawn, runtime, f"{tmp_path}/{name}.log") for name in ("mine", "others"))
    record = builders.record(runtime=runtime)
    abandoned.end_programs(record, f"{tmp_path}/mine.log")
    assert mine.wait(10) == -9
    assert others.poll() is None
    assert process.identify(others.pid) is not None


def test_without_a_record_there_is_nothing_to_look_for(tmp_path: pathlib.Path, spawn: t.Any) -> None:
    child = _start(spawn, _runtime(tmp_path), f"{tmp_path}/mine.log")
    abandoned.end_programs(None, f"{tmp_path}/mine.log")
    assert child.poll() is None


def test_one_that_a_conmon_has_started_is_left_to_it(tmp_path: pathlib.Path, spawn: t.Any) -> None:
    """The parent runs the program that the record calls conmon."""
    runtime = _runtime(tmp_path)
    conmon = tmp_path / "conmon"
    shutil.copy("/bin/sh", conmon)
    (tmp_path / "pid").touch()
    script = f"{runtime.path} -c 'sleep 60; :' --log {tmp_path}/mine.log & echo $! >{tmp_path}/pid; wait"
    spawn(str(conmon), "-c", script)
    while not (text := (tmp_path / "pid").read_text()).endswith("\n"):
        pass
    record = builders.record(runtime=runtime, conmon=Program("conmon", str(conmon), "2"))
    abandoned.end_programs(record, f"{tmp_path}/mine.log")
    assert process.identify(int(text)) is not None
