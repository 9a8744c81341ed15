# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import DeadlineExceeded, ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._runtime import state_command
from ansible_collections.longshore.oci.plugins.module_utils._runtime.runtime import Runtime
from ansible_collections.longshore.oci.plugins.module_utils._runtime.state_command import State
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program, Status
from ansible_collections.longshore.oci.tests.unit import builders, programs

Asked = t.Callable[[str], State]


@pytest.fixture
def ask(tmp_path: pathlib.Path) -> Asked:
    """Ask a runtime that is a shell script."""

    def answer(text: str) -> State:
        path = programs.script(tmp_path / "youki", text)
        record = builders.record(runtime=Program("youki", path, "0.5.7"), runtime_root=f"{tmp_path}/root")
        return Runtime(record, f"{tmp_path}/run/runtime.log").state()

    return answer


def _says(value: object) -> str:
    return f"cat <<'END'\n{json.dumps(value)}\nEND\n"


def test_the_command_line_and_nothing_is_written(ask: Asked, tmp_path: pathlib.Path) -> None:
    said = ask('echo "$@" >&2; exit 1').said
    assert said == f"--root {tmp_path}/root --log /dev/null --log-format json state web"
    assert [path.name for path in tmp_path.iterdir()] == ["youki"]


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("creating", Status.CREATED), ("created", Status.CREATED), ("running", Status.RUNNING), ("paused", Status.PAUSED),
        ("pausing", Status.PAUSED), ("stopped", Status.STOPPED),
    ],
)  # fmt: skip
def test_each_status(ask: Asked, word: str, status: Status) -> None:
    told = {"ociVersion": "1.0.2", "id": "web", "status": word, "pid": 5, "bundle": "/srv/web", "more": [1]}
    assert ask(_says(told)) == State(status, "/srv/web")


def test_a_container_that_it_does_not_know(ask: Asked) -> None:
    assert ask("echo container web does not exist >&2; exit 1") == State(None, said="container web does not exist")
    assert ask("exit 3") == State(None, said="nothing, only exit status 3")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "is of another container"),
        ({"status": "running"}, "is of another container"),
        ({"id": "other", "status": "running"}, r"is of another container \('other'\)"),
        ({"id": ["web"], "status": "running"}, "is of another container"),
        ({"id": "web"}, "it answers 'None'"),
        ({"id": "web", "status": None}, "it answers 'None'"),
        ({"id": "web", "status": ["running"]}, "it answers"),
        ({"id": "web", "status": {"running": 1}}, "it answers"),
        ({"id": "web", "status": "Running"}, "it answers 'Running'"),
        ({"id": "web", "status": "x" * 5000}, "it answers 'x{100}'"),
    ],
)
def test_an_answer_that_is_not_believed(ask: Asked, value: object, sentence: str) -> None:
    with pytest.raises(ProgramFailed, match=f"^youki does not tell the state of web: .*{sentence}"):
        ask(_says(value))


def test_a_bundle_that_is_no_path(ask: Asked) -> None:
    assert ask(_says({"id": "web", "status": "running", "bundle": {"a": 1}})) == State(Status.RUNNING, None)


@pytest.mark.parametrize("text", ["", "[", "NaN,", "[" * 200000, "Segmentation fault"], ids=repr)
def test_no_json(ask: Asked, text: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "answer").write_text(text)
    with pytest.raises(ProgramFailed, match="its answer is no JSON"):
        ask(f"cat {tmp_path}/answer")


def test_what_is_no_text(ask: Asked) -> None:
    with pytest.raises(ProgramFailed, match="its answer is no JSON"):
        ask(r"printf '\377\000\001'")


@pytest.mark.parametrize("stream", ["", " >&2"])
def test_an_answer_without_end_takes_no_memory(ask: Asked, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_command, "SECONDS", 5.0)
    said = f"exec yes '{'x' * 100}'{stream}"
    if stream:
        assert len(ask(said).said) <= 500
    else:
        with pytest.raises(ProgramFailed, match="says more than 1048576 bytes"):
            ask(said)


def test_one_that_hangs(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_command, "SECONDS", 0.2)
    with pytest.raises(DeadlineExceeded, match="did not tell its state in time and was killed"):
        ask("exec sleep 60")


def test_one_that_is_gone(tmp_path: pathlib.Path) -> None:
    record = builders.record(runtime=Program("youki", f"{tmp_path}/youki", "0.5.7"))
    with pytest.raises(ProgramFailed, match=r"^Cannot run .*/youki to tell its state: No such file or directory"):
        Runtime(record, f"{tmp_path}/log").state()
