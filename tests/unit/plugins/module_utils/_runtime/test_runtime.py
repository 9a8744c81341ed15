# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import versions
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    DeadlineExceeded,
    LongshoreError,
    ProgramFailed,
)
from ansible_collections.longshore.oci.plugins.module_utils._runtime import deletion, runtime
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program
from ansible_collections.longshore.oci.tests.unit import builders, programs

RECORDED = [("runc", "1.1.5"), ("runc", "1.1.15"), ("crun", "1.8.1"), ("crun", "1.21"), ("crun", "1.28")]


@pytest.mark.pure
@pytest.mark.parametrize(
    ("program", "directory", "version"),
    [
        ("runc", "1.1.5", "1.1.5+ds1"),
        ("runc", "1.1.15", "1.1.15+ds1"),
        ("crun", "1.8.1", "1.8.1"),
        ("crun", "1.21", "1.21"),
        ("crun", "1.28", "1.28"),
    ],
)
def test_parse_version(program: str, directory: str, version: str) -> None:
    assert versions.parse_program(builders.transcript(program, directory, "version.txt")) == (program, version)


@pytest.mark.pure
@pytest.mark.parametrize("text", ["", "usage: runc", "version 1.0"])
def test_no_version(text: str) -> None:
    assert versions.parse_program(text) is None


@pytest.mark.pure
@pytest.mark.parametrize(("program", "version"), RECORDED)
def test_parse_bundle(program: str, version: str) -> None:
    assert runtime.parse_bundle(json.loads(builders.transcript(program, version, "state-file.json"))) == "/srv/web"


@pytest.mark.pure
@pytest.mark.parametrize("state", [{}, {"config": None}, {"config": {"labels": None}}, {"config": {"labels": ["a=b"]}}])
def test_no_bundle(state: dict[str, t.Any]) -> None:
    assert runtime.parse_bundle(state) is None


@pytest.mark.pure
def test_global_arguments() -> None:
    record = builders.record(
        cgroup_manager="systemd", definition=builders.definition(runtime_args=("--debug", "--criu=/opt/criu"))
    )
    assert runtime.global_arguments(record, "/log") == [
        "--root", "/run/longshore/runc", "--log", "/log", "--log-format", "json", "--systemd-cgroup",
        "--debug", "--criu=/opt/criu",
    ]  # fmt: skip
    assert "--systemd-cgroup" not in runtime.global_arguments(builders.record(), "/log")


@pytest.fixture
def scripted(tmp_path: pathlib.Path) -> t.Callable[[str], deletion.Deletion]:
    """A Runtime whose program is a shell script. In it $LOG is the log and $DIRECTORY the container's state."""
    (tmp_path / "root").mkdir()
    log, directory = tmp_path / "run" / "runtime.log", tmp_path / "root" / "web"

    def make(text: str, name: str = "runc") -> deletion.Deletion:
        path = programs.script(tmp_path / "runc", f"LOG={log}\nDIRECTORY={directory}\n{text}")
        record = builders.record(runtime=Program(name, path, "1.1.5"), runtime_root=f"{tmp_path}/root")
        return deletion.Deletion(record, str(log))

    return make


class TestRuntime:
    def test_the_command_line(self, scripted: t.Any, tmp_path: pathlib.Path) -> None:
        scripted(f'echo "$@" >{tmp_path}/said').call("start")
        assert (tmp_path / "said").read_text(encoding="utf-8") == (
            f"--root {tmp_path}/root --log {tmp_path}/run/runtime.log --log-format json start web\n"
        )

    @pytest.mark.parametrize("verb", ["start", "pause", "resume"])
    def test_each_verb(self, scripted: t.Any, tmp_path: pathlib.Path, verb: str) -> None:
        scripted(f'shift 6; echo "$@" >{tmp_path}/said').call(verb)
        assert (tmp_path / "said").read_text(encoding="utf-8") == f"{verb} web\n"

    def test_a_failure_says_what_the_log_says(self, scripted: t.Any) -> None:
        said = """echo '{"level": "error", "msg": "no such luck"}' >$LOG; echo other >&2; exit 3"""
        with pytest.raises(ProgramFailed, match=r"^Cannot start the container web: runc says: no such luck") as caught:
            scripted(said).call("start")
        assert caught.value.details["rc"] == 3
        assert caught.value.details["stderr"] == "other\n"
        assert caught.value.details["runtime_log"] == ['{"level": "error", "msg": "no such luck"}']

    def test_without_a_log_a_failure_says_what_stderr_says(self, scripted: t.Any) -> None:
        with pytest.raises(ProgramFailed, match="runc says: other"):
            scripted("echo other >&2; exit 3").call("start")

    def test_a_silent_failure_says_so(self, scripted: t.Any) -> None:
        with pytest.raises(ProgramFailed, match="runc says: no message, only exit status 3"):
            scripted("exit 3").call("start")

    def test_an_old_log_is_not_believed(self, scripted: t.Any, tmp_path: pathlib.Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "runtime.log").write_text('{"level": "error", "msg": "of yesterday"}\n', encoding="utf-8")
        with pytest.raises(ProgramFailed, match="runc says: no message"):
            scripted("exit 3").call("pause")

    @pytest.mark.pure
    @pytest.mark.parametrize(("runtime_name", "name"), [("runc", "state.json"), ("crun", "status")])
    def test_the_bundle_of_a_container(self, scripted: t.Any, runtime_name: str, name: str) -> None:
        asked = scripted("exit 1", runtime_name)
        os.makedirs(asked.directory)
        assert asked.bundle() is None
        pathlib.Path(asked.directory, name).write_text('{"bundle": "/srv/web"', encoding="utf-8")
        assert asked.bundle() is None
        pathlib.Path(asked.directory, name).write_text('{"bundle": "/srv/web"}', encoding="utf-8")
        assert asked.bundle() == "/srv/web"


class TestDelete:
    @pytest.mark.pure
    def test_without_a_state_directory_there_is_nothing_to_run(self, scripted: t.Any, tmp_path: pathlib.Path) -> None:
        assert scripted(f"touch {tmp_path}/ran").delete() is None
        assert not (tmp_path / "ran").exists()

    def test_once_is_enough(self, scripted: t.Any, tmp_path: pathlib.Path) -> None:
        (tmp_path / "root" / "web").mkdir()
        assert scripted(f'shift 6; echo "$@" >>{tmp_path}/said; rmdir $DIRECTORY').delete() is None
        assert (tmp_path / "said").read_text(encoding="utf-8") == "delete web\n"

    @pytest.mark.parametrize("place", ["root/web", "root/web/criu-root", "run/bundle/criu-root"])
    def test_nothing_is_run_where_something_is_mounted(
        self, scripted: t.Any, tmp_path: pathlib.Path, place: str
    ) -> None:
        (tmp_path / "root" / "web").mkdir()
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / place], check=True)
        try:
            with pytest.raises(LongshoreError, match=f"something is mounted at {tmp_path}/{place}"):
                scripted(f"touch {tmp_path}/ran").delete()
        finally:
            subprocess.run(["umount", tmp_path / place], check=True)
        assert not (tmp_path / "ran").exists()

    def test_force_is_the_second_try(self, scripted: t.Any, tmp_path: pathlib.Path) -> None:
        (tmp_path / "root" / "web").mkdir()
        text = f'shift 6; echo "$@" >>{tmp_path}/said; [ "$2" = --force ] && rmdir $DIRECTORY || exit 1'
        assert scripted(text).delete() is None
        assert (tmp_path / "said").read_text(encoding="utf-8") == "delete web\ndelete --force web\n"

    def test_what_it_said_is_returned_when_neither_helps(self, scripted: t.Any, tmp_path: pathlib.Path) -> None:
        (tmp_path / "root" / "web").mkdir()
        assert scripted("echo device or resource busy >&2; exit 1").delete() == "device or resource busy"

    def test_success_that_leaves_the_state_is_none(self, scripted: t.Any, tmp_path: pathlib.Path) -> None:
        """crun delete --force answers 0 for state that is only half there."""
        (tmp_path / "root" / "web").mkdir()
        assert scripted("exit 0").delete() == "no message, only exit status 0"

    def test_one_that_hangs_is_cut_short(
        self, scripted: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "root" / "web").mkdir()
        monkeypatch.setattr(deletion, "DELETE_SECONDS", 0.1)
        assert "did not delete in time and was killed" in scripted("exec sleep 60").delete()

    def test_a_program_that_cannot_be_run_is_no_reason_to_give_up(
        self, scripted: t.Any, tmp_path: pathlib.Path
    ) -> None:
        (tmp_path / "root" / "web").mkdir()
        deleted = scripted("exit 0")
        (tmp_path / "runc").unlink()
        assert "Cannot run" in deleted.delete()


def test_a_call_that_hangs_is_an_error_in_time(scripted: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "CALL_SECONDS", 0.1)
    with pytest.raises(DeadlineExceeded, match="did not start in time and was killed"):
        scripted("exec sleep 60").call("start")
