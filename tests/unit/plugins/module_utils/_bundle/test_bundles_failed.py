# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that fails in the middle leaves nothing behind."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Action, Options, Request

REASONS = ["no space", "overlay", "owner", "late"]


@pytest.fixture
def bundles(tmp_path: pathlib.Path) -> Bundles:
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    return Bundles(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


@pytest.fixture
def small(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A place for bundles that is soon full."""
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "t", tmp_path / "small"], check=True)
    yield tmp_path / "small"
    subprocess.run(["umount", "--lazy", tmp_path / "small"], check=True)


def request(tmp_path: pathlib.Path, path: pathlib.Path, reason: str = "") -> Request:
    """With a reason, one that fails because of that, after it has begun."""
    root = tmp_path / f"root-{reason}"
    root.mkdir(exist_ok=True)
    root.chmod(0o755)
    if not (root / "file").exists():
        (root / "file").write_bytes(b"x" * (2**20 if reason == "no space" else 10))
    options = Options(argv=("/x",), seccomp=f"{tmp_path}/profile.json")
    if reason == "owner":
        os.chown(root / "file", 70000, 0)
        options = options._replace(userns={"uidmap": ["0:100000:65536"]})
    wanted = Request(str(path), rootfs=str(root), options=options)
    return wanted._replace(rootfs_mode="overlay" if reason == "overlay" else "copy")


def fail(bundles: Bundles, wanted: Request, reason: str, monkeypatch: pytest.MonkeyPatch) -> LongshoreError:
    with monkeypatch.context() as patched:
        if reason == "late":  # The new config.json is there, the record is not yet.
            patched.setattr(Bundles, "complete", lambda *_args: (_ for _ in ()).throw(OSError(5, "broken", "disk")))
        with pytest.raises(LongshoreError) as failed:
            bundles.converge(wanted)
    return failed.value


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("there", ["nothing", "parents missing", "an empty directory", "a killed task"])
def test_a_new_bundle(
    tmp_path: pathlib.Path,
    small: pathlib.Path,
    bundles: Bundles,
    monkeypatch: pytest.MonkeyPatch,
    there: str,
    reason: str,
) -> None:
    path = small / ("a/b/web:1" if there == "parents missing" else "web:1")  # No overlay can be in such a path.
    if there in ("an empty directory", "a killed task"):
        path.mkdir()
        path.chmod(0o755)
    if there == "a killed task":
        (path / "longshore.json").write_text("{}\n")
    before = {name for name in small.rglob("*") if name.is_dir()}
    error = fail(bundles, request(tmp_path, path, reason), reason, monkeypatch)
    assert set(small.rglob("*")) == before
    if reason == "no space":
        assert error.hint == f"Free space in {small}."
    assert bundles.converge(request(tmp_path, path)).actions == (Action.ROOTFS, Action.CONFIG)


@pytest.mark.parametrize("reason", REASONS)
def test_a_bundle_that_is_changed(
    tmp_path: pathlib.Path, small: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """It stays as it was: its root file system is the only one."""
    path = small / "web:1"
    record = bundles.converge(request(tmp_path, path)).record
    fail(bundles, request(tmp_path, path, reason), reason, monkeypatch)
    assert [name for name in os.listdir(path) if name.startswith("rootfs-")] == [record.root]
    found = bundles.converge(request(tmp_path, path))
    assert found.record.root == record.root
    assert bundles.converge(request(tmp_path, path)).actions == ()


def test_volumes_of_a_damaged_bundle_stay(
    tmp_path: pathlib.Path, small: pathlib.Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle without a readable record is made anew, and no failure removes its data."""
    path = small / "web:1"
    bundles.converge(request(tmp_path, path))
    (path / "volumes/data").mkdir(parents=True)
    (path / "volumes/data/file").touch()
    (path / "longshore.json").write_text("")
    fail(bundles, request(tmp_path, path, "no space"), "no space", monkeypatch)
    assert (path / "volumes/data/file").exists()
