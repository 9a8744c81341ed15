# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import tarfile
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.lay_out import lay_out
from ansible_collections.longshore.oci.plugins.module_utils._container.create import Launch
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, stored

pytestmark = pytest.mark.pure


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _lay_out(
    store: Store, tmp_path: pathlib.Path, *, mounts: t.Sequence[t.Any] = (), log: bool = True, **changes: t.Any
) -> None:
    os.makedirs(store.paths("web").state, exist_ok=True)
    config = builders.config(root={"path": f"{tmp_path}/root"}, mounts=list(mounts))
    launch = Launch(builders.record(log_path=store.paths("web").log), config)
    source = stored.whole(path=f"{tmp_path}/source", **changes)
    lay_out(store, "web", launch, source, with_log=log)


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A root file system with two files, and an unpacked checkpoint that has changed one and deleted the other."""
    for name in ("root", "source"):
        (tmp_path / name).mkdir()
    for name in ("kept", "deleted"):
        (tmp_path / "root" / name).write_text("old")
    (tmp_path / "changed").write_text("new")
    with tarfile.open(tmp_path / "source/rootfs-diff.tar", "w") as tar:
        tar.add(tmp_path / "changed", "changed")
    (tmp_path / "source/deleted.files").write_text('["/deleted"]')
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("rootfs", "names"), [(None, ["deleted", "kept"]), ("changes", ["changed", "kept"]), ("complete", ["changed"])]
)
def test_the_root_file_system(
    store: Store, tmp_path: pathlib.Path, root: pathlib.Path, rootfs: str | None, names: list[str]
) -> None:
    """What a killed task has packed of one, the manifest does not know."""
    _lay_out(store, tmp_path, rootfs=rootfs)
    assert sorted(os.listdir(root)) == names


def test_only_something_deleted(store: Store, tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (tmp_path / "source/rootfs-diff.tar").unlink()
    _lay_out(store, tmp_path, rootfs="changes")
    assert os.listdir(root) == ["kept"]


def test_names_that_are_none(store: Store, tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    (tmp_path / "source/deleted.files").write_text('["a", 5]')
    with pytest.raises(InvalidOption, match=r"deleted\.files has a wrong value"):
        _lay_out(store, tmp_path, rootfs="changes")
    assert sorted(os.listdir(root)) == ["deleted", "kept"]


@pytest.mark.parametrize(
    ("asked", "there", "text"), [(True, None, "theirs"), (False, None, None), (True, "mine", "mine")]
)
def test_the_log(
    store: Store, tmp_path: pathlib.Path, root: pathlib.Path, asked: bool, there: str | None, text: str | None
) -> None:
    log = pathlib.Path(store.paths("web").log)
    log.parent.mkdir(parents=True)
    if there:
        log.write_text(there)
    (tmp_path / "source/ctr.log").write_text("theirs")
    _lay_out(store, tmp_path, log=asked)
    assert (log.read_text() if log.exists() else None) == text


def test_what_podman_had_mounted(store: Store, tmp_path: pathlib.Path, root: pathlib.Path) -> None:
    state = store.paths("web").state
    mounts = [
        {"destination": where, "source": f"{state}/mounts{where}"}
        for where in ("/dev/shm", "/etc/hosts", "/run/.containerenv")
    ]
    with tarfile.open(tmp_path / "source/devshm-checkpoint.tar", "w") as tar:
        tar.add(tmp_path / "changed", "shared")
    _lay_out(store, tmp_path, mounts=mounts)
    assert os.listdir(f"{state}/mounts/dev/shm") == ["shared"]
    assert os.stat(f"{state}/mounts/dev/shm").st_mode & 0o7777 == 0o1777
    assert pathlib.Path(f"{state}/mounts/etc/hosts").read_text() == pathlib.Path("/etc/hosts").read_text()
    assert pathlib.Path(f"{state}/mounts/run/.containerenv").read_text() == ""
