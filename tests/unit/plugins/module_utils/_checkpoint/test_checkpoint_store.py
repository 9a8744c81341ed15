# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import typed_documents
from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Manifest
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, WrongState
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import checkpoint_store
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Checkpoint
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, stored

pytestmark = pytest.mark.pure


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _top(store: Store) -> str:
    return f"{store.paths('web').state}/checkpoints"


def _write(store: Store, name: str, **changes: t.Any) -> str:
    return stored.write(f"{_top(store)}/{name}", stored.manifest(**changes))


@pytest.mark.parametrize(
    ("phase", "own", "found"),
    [
        (None, None, "2"), ("running", None, "2"), ("running", "2", "1"), ("checkpointing", "3", "2"), ("checkpointed", "1", "1"),
        ("restoring", "1", "1"), ("checkpointed", "3", None), ("removed", None, "2"),
    ],
)  # fmt: skip
def test_which_counts(store: Store, phase: str | None, own: str | None, found: str | None) -> None:
    """By the phase of the record, and the checkpoint that it names; ``3`` has no manifest, and those with a dot do not count."""
    for name in ("1", "2", ".work-1-2-3"):
        _write(store, name)
    os.makedirs(f"{_top(store)}/3")
    if phase:
        checkpoint = Checkpoint(f"{_top(store)}/{own}") if own else None
        store.save(builders.record(phase=phase, checkpoint=checkpoint))
    path = checkpoint_store.newest_path(store, "web")
    assert path == (found and f"{_top(store)}/{found}")
    whole = checkpoint_store.newest(store, "web")
    assert (whole and whole.path) == path


def test_what_is_read(store: Store) -> None:
    path = _write(store, "1", size=5)
    assert checkpoint_store.load(path) == (path, stored.manifest(size=5), stored.SPEC)
    assert checkpoint_store.load(f"{path}-not") is None


def test_one_from_an_archive_is_checked_each_time(store: Store) -> None:
    path = _write(store, "1", from_archive=True)
    found = checkpoint_store.load(path)
    assert found is not None
    assert found.is_foreign
    pathlib.Path(path, "spec.dump").write_text('{"root": 5}')
    with pytest.raises(
        InvalidOption, match=r"^The checkpoint in .*/1 is damaged: spec\.dump has a wrong value for root"
    ):
        checkpoint_store.load(path)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"format": "1", "name": "web"}, "wrong value for format"), ({"name": "web"}, "no format"),
        ({"format": 1, "name": "web", "size": []}, "for size"),
    ],
)  # fmt: skip
def test_a_damaged_one(store: Store, value: dict[str, t.Any], says: str) -> None:
    path = _write(store, "1")
    pathlib.Path(path, "longshore.json").write_text(json.dumps(value))
    with pytest.raises(InvalidOption, match=f"^The checkpoint in {path} is damaged: longshore.json has .*{says}"):
        checkpoint_store.newest(store, "web")
    assert checkpoint_store.newest_path(store, "web") == path


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_manifest_that_was_not_written_to_its_end(store: Store, text: str) -> None:
    pathlib.Path(_write(store, "1"), "longshore.json").write_text(text)
    assert checkpoint_store.newest(store, "web") is None


def test_from_before_a_dump_to_a_whole_one(store: Store) -> None:
    path = checkpoint_store.new_directory(store, "web", "2026-06-01T12:00:00.5Z")
    assert os.path.basename(path).startswith("20260601T120000.5Z-")
    assert os.stat(path).st_mode & 0o777 == 0o700
    before = stored.manifest(created_at="2026-06-01T12:00:00.5Z", export="/srv/web.tar", paused=True)
    spec = {**stored.SPEC, "annotations": {"a": "b"}}
    checkpoint_store.describe_before(path, builders.record(), spec, before)
    assert checkpoint_store.load(path) is None
    noted = json.loads(pathlib.Path(path, "pending.json").read_text())
    assert typed_documents.stored_manifest(noted, "pending.json", path) == before
    container = json.loads(pathlib.Path(path, "config.dump").read_text())
    assert (container["name"], container["rootfsImageName"], container["checkpointedTime"]) == (
        "web",
        "/srv/web",
        before.created_at,
    )
    whole = checkpoint_store.write_manifest(path, before._replace(paused=False))
    assert whole.spec["annotations"] == {"io.container.manager": "libpod", "a": "b"}
    assert not os.path.exists(f"{path}/pending.json")
    assert checkpoint_store.newest(store, "web") == whole


def test_what_podman_calls_the_image(store: Store) -> None:
    path = checkpoint_store.new_directory(store, "web", "1")
    annotations = {
        "io.podman.annotations.checkpoint.rootfsImageName": "docker.io/web", "io.podman.annotations.checkpoint.rootfsImageID": "abc",
    }  # fmt: skip
    checkpoint_store.describe_before(
        path, builders.record(), {"annotations": annotations}, Manifest("web", created_at="1")
    )
    container = json.loads(pathlib.Path(path, "config.dump").read_text())
    assert (container["rootfsImageName"], container["rootfsImageID"]) == ("docker.io/web", "abc")


def test_one_that_is_kept_and_one_that_is_not(store: Store) -> None:
    work = checkpoint_store.work_directory(store, "web")
    stored.write(f"{work}/x", stored.manifest())
    source = stored.whole(path=work, created_at="2026-06-01T12:00:00Z")
    kept = checkpoint_store.keep(store, "web", source)
    assert os.path.isdir(kept.path)
    assert not os.path.exists(work)
    assert checkpoint_store.keep(store, "web", kept) == kept


def test_all_but_one_are_removed(store: Store) -> None:
    for name in ("1", "2", "3", ".work-1-2-3"):
        _write(store, name)
    checkpoint_store.prune(store, "web", keep=f"{_top(store)}/2")
    assert sorted(os.listdir(_top(store))) == [".work-1-2-3", "2"]
    os.rename(f"{_top(store)}/.work-1-2-3", f"{_top(store)}/4")
    checkpoint_store.prune(store, "web", keep=None)
    assert not os.path.exists(_top(store))


def test_a_copy_takes_no_room_and_is_not_whole(store: Store) -> None:
    source = _write(store, "1")
    work = checkpoint_store.work_directory(store, "web")
    checkpoint_store.link(source, work)
    assert os.stat(f"{work}/checkpoint/inventory.img").st_nlink == 2
    assert checkpoint_store.load(work) is None


def test_one_that_another_task_has_removed() -> None:
    whole = stored.whole()
    assert checkpoint_store.present(whole, "web") is whole
    with pytest.raises(WrongState, match="The checkpoint of the container web is not there any more"):
        checkpoint_store.present(None, "web")
