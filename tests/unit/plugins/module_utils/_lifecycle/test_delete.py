# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who deletes a container: its owner by the record, or by the unit that is there."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._container import ownership
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import delete, owner_conmon
from ansible_collections.longshore.oci.plugins.module_utils._service import owner_systemd
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Record, Status, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.fixture
def store(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(names, "service_path", lambda name, realm: f"{tmp_path}/{realm}-{name}.service")
    for owner, word in ((owner_conmon, "conmon"), (owner_systemd, "systemd")):
        monkeypatch.setattr(owner, "delete", lambda _store, _host, _seen, record, _times, word=word: (word, record))
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _deleted(store: Store, record: Record | None) -> t.Any:
    seen = builders.observed(Status.STOPPED)
    return delete.delete_container(store, t.cast(t.Any, None), seen, record, Timeouts())


@pytest.mark.parametrize(
    ("service", "unit", "owner"),
    [
        (None, False, "conmon"), (None, True, "systemd"), (False, False, "conmon"), (True, False, "systemd"),
        # A record of an earlier container of that name.
        (False, True, "systemd"),
    ],
)  # fmt: skip
def test_the_owner(store: Store, tmp_path: pathlib.Path, service: bool | None, unit: bool, owner: str) -> None:
    record = (
        None if service is None else builders.record(definition=builders.definition(service=service), realm=store.realm)
    )
    if unit:
        # A link that leads nowhere is a unit too.
        (tmp_path / f"{store.realm}-web.service").symlink_to("/nowhere")
    assert _deleted(store, record) == (owner, record)


def test_nothing_of_another_state_directory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was copied with its state directory names processes, and a unit, that belong to the first one."""
    monkeypatch.setattr(ownership, "without_others", lambda _store, record: record.replace(realm="checked"))
    owner, record = _deleted(store, builders.record(realm="other"))
    assert (owner, record.realm) == ("conmon", "checked")
