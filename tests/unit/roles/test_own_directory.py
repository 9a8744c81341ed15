# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which directories are this user's alone: those that bin/test, bin/quickstart, bin/hosts and the role demo_bundle write to."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing as t

import pytest

_PROGRAM = os.path.join(os.path.dirname(__file__), "../../../roles/demo_bundle/files/own_directory.py")
_SPEC = importlib.util.spec_from_file_location("own_directory", _PROGRAM)
assert _SPEC is not None
assert _SPEC.loader is not None
own_directory: t.Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(own_directory)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")
NOBODY = 65534


def _ask(path: object, *mode: str, cwd: object = "/", **options: t.Any) -> tuple[int, str]:
    argv = [sys.executable, "-I", os.path.abspath(_PROGRAM), str(path), *mode]
    done = subprocess.run(argv, cwd=str(cwd), capture_output=True, text=True, check=False, timeout=30, **options)
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    """A sticky directory as /tmp is, where another user can be faster."""
    found = tmp_path / "tmp"
    found.mkdir()
    found.chmod(0o1777)
    return found


def _of_nobody(path: pathlib.Path, mode: int = 0o755) -> pathlib.Path:
    path.mkdir()
    path.chmod(mode)
    os.chown(path, NOBODY, NOBODY)
    return path


def test_it_is_made_with_its_parents(place: pathlib.Path) -> None:
    path = place / "a" / "b"
    assert _ask(path) == (0, "missing")
    assert _ask(path, "0700") == (0, "made")
    assert [oct(each.stat().st_mode & 0o7777) for each in (path, path.parent)] == ["0o700"] * 2
    assert _ask(path, "0755") == (0, "there")
    assert oct(path.stat().st_mode & 0o7777) == "0o700"
    assert _ask("b", cwd=path.parent) == (0, "there")


def test_links_of_ones_own_are_followed(place: pathlib.Path) -> None:
    (place / "real").mkdir(0o700)
    (place / "absolute").symlink_to(place / "real")
    (place / "relative").symlink_to("../tmp/./absolute")
    assert _ask(place / "relative") == (0, "there")
    assert _ask(place / "relative" / "below", "0700") == (0, "made")


@pytest.mark.parametrize("where", ["here", "here/below", "here/below/deep", "link", "link/below", "real/../here"])
@pytest.mark.parametrize("mode", [(), ("0700",)])
def test_what_belongs_to_another_user_is_refused(place: pathlib.Path, where: str, mode: tuple[str, ...]) -> None:
    _of_nobody(place / "here")
    (place / "real").mkdir(0o700)
    (place / "link").symlink_to(place / "real")
    os.chown(place / "link", NOBODY, NOBODY, follow_symlinks=False)
    code, said = _ask(place / where, *mode)
    assert (code, "belongs to the user 65534" in said) == (1, True), said
    assert os.listdir(place / "here") == os.listdir(place / "real") == []


def test_a_link_of_ones_own_to_another_users_is_refused(place: pathlib.Path) -> None:
    _of_nobody(place / "there")
    (place / "link").symlink_to("there")
    assert _ask(place / "link", "0700")[0] == 1
    assert _ask(place / "link" / "below", "0700")[0] == 1


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777, 0o770])
def test_what_others_can_write_to_is_refused(place: pathlib.Path, mode: int) -> None:
    path = place / "open"
    path.mkdir()
    path.chmod(mode)
    code, said = _ask(path, "0700")
    assert (code, f"(mode {mode:04o})" in said) == (1, True), said


@pytest.mark.parametrize(("mode", "code"), [(0o777, 1), (0o775, 1), (0o1777, 0), (0o1775, 0), (0o755, 0)])
def test_on_the_way_only_sticky_ones_are_fine(place: pathlib.Path, mode: int, code: int) -> None:
    path = place / "open" / "own"
    path.mkdir(parents=True)
    path.parent.chmod(mode)
    path.chmod(0o700)
    assert _ask(path)[0] == code


def test_what_is_no_directory(place: pathlib.Path) -> None:
    (place / "file").write_text("", encoding="ascii")
    (place / "circle").symlink_to("circle")
    assert _ask(place / "file", "0700") == (1, f"{place}/file is not a directory.")
    assert _ask(place / "file" / "below", "0700")[0] == 1
    assert "circle of links" in _ask(place / "circle", "0700")[1]


def test_another_user_cannot_have_what_is_roots(place: pathlib.Path) -> None:
    for each in (place, *place.parents):
        if not each.stat().st_mode & 0o1:
            pytest.skip("the directories of this test are root's alone")
    (place / "roots").mkdir(0o755)
    (place / "mine").mkdir(0o755)
    os.chown(place / "mine", NOBODY, NOBODY)
    code, said = _ask(place / "roots", "0700", user=NOBODY, group=NOBODY)
    assert (code, "belongs to root" in said) == (1, True)
    assert _ask(place / "mine", user=NOBODY, group=NOBODY) == (0, "there")


def test_what_is_roots_can_be_changed_by_root_alone() -> None:
    """Nothing is going to be written there, as to the directory that has an ansible.cfg."""
    os.seteuid(1)
    try:
        own_directory.refuse("/etc", own=False)
        with pytest.raises(own_directory.Refused, match="belongs to root"):
            own_directory.refuse("/etc", own=True)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "code"),
    [(1, 1, 0o775, 0), (1, 1, 0o777, 1), (1, 100, 0o775, 1), (0, 1, 0o775, 0), (2, 1, 0o775, 1)],
)
def test_the_group_of_a_user_alone_may_write(uid: int, gid: int, mode: int, code: int) -> None:
    """As a umask of 002 leaves it, on the way and at its end."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="longshore-own-"))
    try:
        place.chmod(0o755)
        path = place / "home" / "cache"
        path.mkdir(parents=True)
        for each, owner in ((path.parent, uid), (path, 1)):
            os.chown(each, owner, gid)
            each.chmod(mode)
        refused = contextlib.nullcontext() if code == 0 else pytest.raises(own_directory.Refused)
        os.seteuid(1)  # In this process: not every user gets at its Python.
        with refused:
            own_directory.refuse(str(path), own=True)
    finally:
        os.seteuid(0)
        shutil.rmtree(place)
