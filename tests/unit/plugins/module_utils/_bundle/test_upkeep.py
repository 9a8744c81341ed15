# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a bundle goes: the record first says so, and is the last to go. Killed at each step: test_bundles_killed.py."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._bundle import rootfs, upkeep
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import RECORD

GONE = ".tmp-999999999-1-abcdef"


@pytest.fixture
def bundle(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "web"
    for name in ("rootfs-1/etc", "rootfs-2.upper", "rootfs-2.work", "volumes/data"):
        (path / name).mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / RECORD).write_text(json.dumps({"root": "rootfs-1"}))
    (path / "link").symlink_to(tmp_path)
    (tmp_path / "precious").write_text("precious")
    return path


@pytest.mark.pure
def test_other_roots(bundle: pathlib.Path) -> None:
    assert upkeep.other_roots(str(bundle), ()) == [f"{bundle}/rootfs-1", f"{bundle}/rootfs-2"]
    assert upkeep.other_roots(str(bundle), {f"{bundle}/rootfs-1"}) == [f"{bundle}/rootfs-2"]


@pytest.mark.pure
def test_a_record_says_that_it_is_going(bundle: pathlib.Path) -> None:
    assert not upkeep.is_being_removed(str(bundle))
    (bundle / RECORD).write_text('{"removing": true}')
    assert upkeep.is_being_removed(str(bundle))
    (bundle / RECORD).unlink()
    assert not upkeep.is_being_removed(str(bundle))


@pytest.mark.pure
def test_all_of_it_goes_and_nothing_else(bundle: pathlib.Path) -> None:
    upkeep.remove(str(bundle))
    assert os.listdir(bundle.parent) == ["precious"]


@pytest.mark.pure
def test_the_record_goes_last(bundle: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(rootfs, "remove", lambda _root: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            upkeep.remove(str(bundle))
    assert upkeep.is_being_removed(str(bundle))
    assert not (bundle / "config.json").exists()
    upkeep.remove(str(bundle))
    assert not bundle.exists()


@pytest.mark.pure
def test_what_has_no_record_must_be_empty(tmp_path: pathlib.Path) -> None:
    (tmp_path / "web/etc").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        upkeep.remove(f"{tmp_path}/web")
    (tmp_path / "web/etc").rmdir()
    upkeep.remove(f"{tmp_path}/web")
    assert not (tmp_path / "web").exists()


def test_what_ended_tasks_have_left_is_cleared(bundle: pathlib.Path, tmp_path: pathlib.Path) -> None:
    state = tmp_path / "state"
    workspaces = [place / GONE for place in (bundle, bundle / "volumes", state / "roots", state / "images/layouts")]
    for path in workspaces:
        (path / "deep/er").mkdir(parents=True)
    files = [bundle / "config.json.999999999.0123abcd", state / f"images/references/{'0' * 32}.json.999999999.0123abcd"]
    kept = bundle / "other.json.999999999.0123abcd"
    for path in (*files, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    upkeep.tidy(str(bundle), str(state))
    assert [path for path in (*workspaces, *files) if path.exists()] == []
    assert kept.exists()
    assert (bundle / "volumes/data").is_dir()
