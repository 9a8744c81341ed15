# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed at each of its steps, an export leaves nothing in the directory of the archive, at the latest after the next task."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import archive_file
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import recovery
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import killing

pytestmark = pytest.mark.pure


class Place:
    def __init__(self, directory: pathlib.Path) -> None:
        self.store = Store(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        self.notes = pathlib.Path(self.store.paths("web").state, "checkpoints")
        self.notes.mkdir(parents=True)
        self.archives = directory / "archives"
        self.archives.mkdir()
        self.path = self.archives / "web.tar"

    def write(self, failure: OSError | None = None) -> None:
        with archive_file.replacing(str(self.path), str(self.notes)) as stream:
            os.truncate(stream.fileno(), 0)  # A step: the middle of it.
            stream.write(b"new")
            if failure:
                raise failure

    def left(self) -> list[str]:
        return sorted(os.listdir(self.archives))


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Place:
    return Place(tmp_path)


def _no_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that does not support O_TMPFILE."""
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777, **where: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, mode, **where)

    monkeypatch.setattr(os, "open", refuse)


@pytest.fixture(params=[False, True], ids=["without a name", "named"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system makes files without a name, and where it does not."""
    if request.param:
        _no_unnamed_files(monkeypatch)


@pytest.fixture(params=[None, "old"])
def before(request: pytest.FixtureRequest, place: Place) -> str | None:
    """What the archive was before, if there was one."""
    if request.param:
        place.path.write_text(request.param)
    return t.cast("str | None", request.param)


@pytest.mark.usefixtures("either")
def test_it_is_there_when_it_is_whole(place: Place, before: str | None) -> None:
    place.write()
    assert place.path.read_text() == "new"
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
    assert (place.left(), os.listdir(place.notes)) == (["web.tar"], [])


@pytest.mark.usefixtures("either")
def test_a_failure_leaves_what_was_there(place: Place, before: str | None) -> None:
    with pytest.raises(OSError, match="full"):
        place.write(OSError("full"))
    assert place.left() == (["web.tar"] if before else [])
    assert not before or place.path.read_text() == before
    assert os.listdir(place.notes) == []


@pytest.mark.impure
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("before", [None, "old"])
def test_killed_at_each_step(place: Place, monkeypatch: pytest.MonkeyPatch, named: bool, before: str | None) -> None:
    if named:
        _no_unnamed_files(monkeypatch)

    def again() -> None:
        for path in place.archives.iterdir():
            path.unlink()
        if before:
            place.path.write_text(before)

    again()
    steps = killing.steps(place.write)
    for number in range(len(steps)):
        again()
        place.notes.mkdir(parents=True, exist_ok=True)
        assert killing.kill(place.write, at=number).was_killed
        if not named and not before:
            assert place.left() in ([], ["web.tar"]), steps[number]
        # The next task of the container.
        recovery.clear_unfinished(place.store, "web", None)
        assert set(place.left()) <= {"web.tar"}, steps[number]
        assert not place.path.exists() or place.path.read_text() in ("new", before), steps[number]
        assert before is None or place.path.exists(), steps[number]
        assert not place.notes.exists()


def test_only_what_the_task_of_a_note_has_made_is_removed(place: Place) -> None:
    """Whatever is written in a note: the names of the two end alike."""
    place.path.write_text("of somebody")
    note = place.notes / ".note-1-1-00000000"
    for text in ('{"path": "%s"}' % place.path, '{"path": 1}', "[]", ""):  # noqa: UP031
        note.write_text(text)
        recovery.forget_note(str(note))
        assert not note.exists()
    assert place.left() == ["web.tar"]


def test_the_note_of_a_task_that_lives_is_its_own(place: Place) -> None:
    seen: list[t.Any] = []
    place.path.write_text("old")
    with pytest.MonkeyPatch.context() as monkeypatch:
        _no_unnamed_files(monkeypatch)
        with archive_file.replacing(str(place.path), str(place.notes)):
            recovery.clear_unfinished(place.store, "web", None)
            seen = place.left()
    assert len(seen) == 2
