# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds of dumps that only few kernels can do (CONFIG_MEM_SOFT_DIRTY): with a runtime that says how it was called."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import dump
from ansible_collections.longshore.oci.plugins.module_utils._criu.criu import Options
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program, Record
from ansible_collections.longshore.oci.tests.unit import builders, programs


@pytest.fixture
def record(tmp_path: pathlib.Path) -> Record:
    """Its runtime notes each call, and leaves images as CRIU would; with a file ``fails`` in its way it fails."""
    text = f"""
        echo "$@" >> {tmp_path}/calls
        test ! -e {tmp_path}/fails || exit 1
        """
    runtime = Program("runc", programs.script(tmp_path / "runc", text), "1.1.15")
    return builders.record(runtime=runtime, runtime_root="/r")


def _calls(directory: pathlib.Path) -> list[list[str]]:
    return [line.split() for line in (directory / "calls").read_text(encoding="utf-8").splitlines()]


def _written(monkeypatch: pytest.MonkeyPatch, *pages: int) -> None:
    found: t.Iterator[dict[str, int]] = iter([{"pages_written": number} for number in pages])
    monkeypatch.setattr(dump, "statistics", lambda _path: next(found, {}))


def test_each_round_goes_on_from_the_one_before(
    record: Record, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(monkeypatch, 65536, 20000, 5000)
    options = Options(pre_dump=True, pre_dump_rounds=3, leave_running=True, file_locks=True)
    assert dump.pre_dump(record, str(tmp_path), options, Deadline(30)) == "pre-checkpoint-3"
    images = ["pre-checkpoint", "pre-checkpoint-2", "pre-checkpoint-3"]
    calls = _calls(tmp_path)
    assert [words[words.index("--image-path") + 1] for words in calls] == [f"{tmp_path}/{name}" for name in images]
    parents = [words[words.index("--parent-path") + 1] for words in calls if "--parent-path" in words]
    # Relative, as CRIU wants it: from the images to their parent.
    assert parents == ["../pre-checkpoint", "../pre-checkpoint-2"]
    for words in calls:
        assert {"--pre-dump", "--file-locks"} <= set(words)
        # It goes on anyway.
        assert "--leave-running" not in words
    assert all(os.path.isdir(tmp_path / name) for name in images)


@pytest.mark.parametrize(("root", "default"), [("/run/ls/crun", "/run/ls"), ("/run/ls/other", "")])
def test_the_root_of_crun_is_its_default_root(tmp_path: pathlib.Path, root: str, default: str) -> None:
    """Where it can be: crun 1.28 does not ask --root for what it has mounted over masked directories."""
    text = f"""
        echo "$XDG_RUNTIME_DIR" > {tmp_path}/default
        mkdir -p {tmp_path}/images && touch {tmp_path}/images/inventory.img
        """
    runtime = Program("crun", programs.script(tmp_path / "crun", text), "1.28")
    record = builders.record(runtime=runtime, runtime_root=root)
    dump.call_checkpoint(record, str(tmp_path), [], "images", Deadline(30))
    assert (tmp_path / "default").read_text(encoding="utf-8").strip() == default


@pytest.mark.parametrize(
    ("pages", "last"),
    [
        ((65536, 60000, 50000), "pre-checkpoint-2"),  # it changes its memory as fast as it is written
        ((65536, 0, 0), "pre-checkpoint-3"),
        ((65536, 20000, 19000), "pre-checkpoint-3"),
        ((), "pre-checkpoint"),  # nobody knows
    ],
)
def test_rounds_end_when_they_are_not_worth_it(
    record: Record, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, pages: tuple[int, ...], last: str
) -> None:
    _written(monkeypatch, *pages, *([] if len(pages) == 0 else [1]))
    options = Options(pre_dump=True, pre_dump_rounds=3)
    assert dump.pre_dump(record, str(tmp_path), options, Deadline(30)) == last


def test_one_round_if_nothing_is_said(record: Record, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _written(monkeypatch, 65536)
    assert dump.pre_dump(record, str(tmp_path), Options(pre_dump=True), Deadline(30)) == "pre-checkpoint"
    assert len(_calls(tmp_path)) == 1


def test_a_round_that_fails_ends_the_dump(record: Record, tmp_path: pathlib.Path) -> None:
    (tmp_path / "fails").touch()
    with pytest.raises(ProgramFailed):
        dump.pre_dump(record, str(tmp_path), Options(pre_dump=True, pre_dump_rounds=2), Deadline(30))
    assert len(_calls(tmp_path)) == 1
