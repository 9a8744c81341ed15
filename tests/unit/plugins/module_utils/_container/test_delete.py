# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a removal sweeps, and which record it leaves. What a sweep removes is tested with real containers (test_containers)."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.process import boot_id
from ansible_collections.longshore.oci.plugins.module_utils._container import delete, sweep
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Exit, Observed, Record, Status, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

ENDED = Exit(3, "exited", "2026-01-01T00:00:00Z", False)


class Swept:
    """Notes what is swept."""

    def __init__(self, directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = Store(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        self.calls: list[tuple[str, str]] = []
        for name in ("delete_state", "sweep_leftovers"):
            monkeypatch.setattr(
                sweep, name, lambda _store, record, _timeouts, name=name: self.calls.append((name, record.name))
            )
        for path in (self.store.paths("web").exits, self.store.paths("web").state):
            os.makedirs(path)

    def delete(self, before: Observed, record: Record | None) -> Record | None:
        return delete.delete_container(self.store, t.cast(t.Any, None), before, record, Timeouts())


@pytest.fixture
def swept(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Swept:
    return Swept(tmp_path, monkeypatch)


def test_an_interrupted_launch_gives_the_bundle_back(swept: Swept) -> None:
    record = builders.record(phase="creating")
    swept.store.claim_bundle(record.definition.bundle, "web")
    assert swept.delete(Observed("web", Status.ABSENT, record, leftovers=True), record) is None
    assert swept.calls == [("sweep_leftovers", "web")]
    swept.store.claim_bundle(record.definition.bundle, "another")


def test_one_that_was_removed_already(swept: Swept) -> None:
    record = builders.record(phase="removed")
    assert swept.delete(Observed("web", Status.STOPPED, record), record) is record
    assert swept.calls == []


def test_without_a_record_all_that_may_be_of_it(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [builders.record(phase="creating"), builders.record(name="web2", phase="creating")]
    monkeypatch.setattr(delete, "orphans", lambda _store, _host, name: found if name == "web" else [])
    assert swept.delete(Observed("web", Status.ABSENT, leftovers=True), None) is None
    assert swept.calls == [("sweep_leftovers", "web"), ("sweep_leftovers", "web2")]


def test_a_checkpointed_one_stays_so(swept: Swept) -> None:
    record = builders.record(phase="restoring")
    left = swept.delete(Observed("web", Status.CHECKPOINTED, record, leftovers=True), record)
    assert (left and left.phase, swept.calls) == ("checkpointed", [("delete_state", "web")])
    assert swept.store.load("web") == left


@pytest.mark.parametrize("known", [True, False])
def test_its_exit_is_kept(swept: Swept, known: bool) -> None:
    record = builders.record(phase="running", boot=boot_id(), init=None, monitor=None)
    pathlib.Path(swept.store.paths("web").exits, "web").write_text("5", encoding="ascii")
    left = swept.delete(Observed("web", Status.STOPPED, record, exit=ENDED if known else None), record)
    assert left is not None
    assert left.last_exit is not None
    assert (left.phase, left.last_exit.code) == ("removed", 3 if known else 5)
    assert swept.store.load("web") == left
