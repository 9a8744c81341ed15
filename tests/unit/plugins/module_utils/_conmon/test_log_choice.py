# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new service logs to the journal, and an existing container stays as it is."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._conmon import log_choice
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition, LogDriver
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.fixture
def store(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    (tmp_path / "socket").touch()
    monkeypatch.setattr(log_choice, "JOURNAL", f"{tmp_path}/socket")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(log_choice, "writes_to_journal", lambda _store, wanted: wanted != "/old/conmon")
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _chosen(store: Store, **given: t.Any) -> str:
    names = {name for name, value in given.items() if value}
    return log_choice.chosen(store, "web", names, conmon=given.get("conmon")).value


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"service": True}, "journald"), ({}, "k8s-file"), ({"service": False}, "k8s-file"),
        ({"service": True, "log_path": "/var/log/web"}, "k8s-file"), ({"service": True, "log_size_max": "1m"}, "k8s-file"),
        ({"log_tag": "web"}, "journald"), ({"service": True, "conmon": "/old/conmon"}, "k8s-file"),
    ],
)  # fmt: skip
def test_a_new_container(store: Store, given: dict[str, t.Any], expected: str) -> None:
    assert _chosen(store, **given) == expected


@pytest.mark.parametrize("kept", [True, False])
def test_another_user_needs_a_journal_of_its_own(
    store: Store, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setattr(log_choice, "_OF_USERS", f"{tmp_path}/{{0}}/log/journal/*/user-{{1}}.journal")
    (tmp_path / "var/log/journal/machine").mkdir(parents=True)
    (tmp_path / f"var/log/journal/machine/user-{7 if kept else 8}.journal").touch()
    assert _chosen(store, service=True) == ("journald" if kept else "k8s-file")


def test_a_host_without_a_journal(store: Store, tmp_path: pathlib.Path) -> None:
    (tmp_path / "socket").unlink()
    assert _chosen(store, service=True) == "k8s-file"


@pytest.mark.parametrize(
    ("was", "expected"),
    [("k8s-file", "k8s-file"), ("journald", "journald"), ("none", "journald"), ("passthrough", "journald")],
)
def test_an_existing_container_is_not_made_again(store: Store, was: str, expected: str) -> None:
    os.makedirs(store.paths("web").state)
    store.save(builders.record(definition=Definition("/b", log_driver=LogDriver(was), service=True)))
    assert _chosen(store, service=True) == expected


@pytest.mark.impure
def test_the_conmon_of_this_machine(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(log_choice, "JOURNAL", str(tmp_path))
    assert _chosen(store, service=True) == "journald"
    assert _chosen(store, service=True, conmon="/nowhere/conmon") == "k8s-file"
