# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive.archive_reader import Documents
from ansible_collections.longshore.oci.plugins.module_utils._archive.archive_writer import pack
from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Container, Manifest
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, WrongState
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import source
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.plan import Goal
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.request import Request
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.source import Source
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import stored

pytestmark = pytest.mark.pure

REQUEST = Request("web", Goal.RESTORED)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _archive(tmp_path: pathlib.Path, **changes: t.Any) -> str:
    directory = stored.write(tmp_path / "to pack", stored.manifest())
    path = f"{tmp_path}/web.tar"
    pack(directory, path, compression="none", log=None, manifest=stored.manifest(**changes).with_members)
    return path


@pytest.mark.parametrize(
    ("manifest", "container", "says"),
    [
        (Manifest("web"), Container("db"), ""), (None, Container("web"), ""),
        (Manifest("db"), Container("web"), "is of the container db, not of web"), (None, Container("db"), "is of the container db"),
        (None, Container(), "is of the container , not"), (Manifest("web", 2), Container(), "has the format 2"),
    ],
)  # fmt: skip
def test_what_is_accepted(manifest: Manifest | None, container: Container, says: str) -> None:
    documents = Documents(stored.SPEC, container, manifest)
    if not says:
        assert source.accepted(REQUEST._replace(archive="/x.tar"), documents).from_archive
        return
    with pytest.raises(InvalidOption, match=f"^/x.tar {says}"):
        source.accepted(REQUEST._replace(archive="/x.tar"), documents)


def test_a_constructor_looks_at_nothing(store: Store) -> None:
    with (
        Source(store, REQUEST._replace(archive="/nothing")) as found,
        pytest.raises(InvalidOption, match="no archive /nothing"),
    ):
        found.look()


def test_an_archive_is_looked_at_and_unpacked(store: Store, tmp_path: pathlib.Path) -> None:
    request = REQUEST._replace(archive=_archive(tmp_path))
    (tmp_path / "unpacked").mkdir()
    with Source(store, request) as found:
        looked = found.look()
        assert (looked.path, looked.spec, looked.is_foreign) == ("", stored.SPEC, True)
        assert found.unpack(f"{tmp_path}/unpacked") == looked.manifest
        assert found.stored() is None
    assert os.path.exists(tmp_path / "unpacked/checkpoint/inventory.img")


def test_the_stored_one(store: Store) -> None:
    path = f"{store.paths('web').state}/checkpoints/1"
    stored.write(path, stored.manifest())
    with Source(store, REQUEST) as found:
        assert found.look().path == path
        os.unlink(f"{path}/checkpoint/inventory.img")
        with pytest.raises(WrongState, match="is not there any more"):
            found.look()


def test_what_was_received_comes_first(store: Store, tmp_path: pathlib.Path) -> None:
    stored.write(f"{store.paths('web').state}/checkpoints/1", stored.manifest())
    received = stored.whole(path=stored.write(tmp_path / "received", stored.manifest()))
    with Source(store, REQUEST, received) as found:
        assert found.stored() == received
        assert found.look() == received


def test_who_has_signed_must_be_named(tmp_path: pathlib.Path) -> None:
    assert source.verifier(REQUEST) is None
    (tmp_path / "empty").write_text("")
    with pytest.raises(InvalidOption, match="contains no public key"):
        source.verifier(REQUEST._replace(verify=(f"{tmp_path}/empty",)))
