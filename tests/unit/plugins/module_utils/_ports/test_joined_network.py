# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of a container, as its config and its processes tell."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup
from ansible_collections.longshore.oci.plugins.module_utils._ports import joined_network
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


@pytest.mark.parametrize(
    ("entries", "path"),
    [
        (None, ""),
        ([], ""),
        ([{"type": "network"}], ""),
        ([{"type": "ipc", "path": "/a"}, {"type": "network", "path": "/b"}], "/b"),
    ],
)
def test_the_path_in_a_config(store: Store, entries: list[dict[str, str]] | None, path: str) -> None:
    if entries is not None:
        config = pathlib.Path(store.paths("web").config)
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps({"linux": {"namespaces": entries}}), encoding="utf-8")
    assert joined_network.path_in(store, "web") == path


def test_a_service_has_the_processes_that_systemd_has_started(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert joined_network.load(store, "web") is None
    paths = store.paths("web")
    for directory in (paths.state, paths.run):
        os.makedirs(directory)
    store.save(builders.record(definition=builders.definition(service=True), init=None))
    pathlib.Path(paths.pidfile).write_text(str(os.getpid()), encoding="ascii")
    monkeypatch.setattr(cgroup, "path_of", lambda pid: f"/system.slice/{names.container_unit('web', '')}")
    loaded = joined_network.load(store, "web")
    assert loaded is not None
    assert loaded.init == identify(os.getpid())


@pytest.mark.parametrize("kind", ["network", "pid", "ipc", "uts"])
def test_a_namespace_is_that_of_a_process_that_lives(kind: str) -> None:
    with subprocess.Popen(["unshare", "--net", "--ipc", "--uts", "sleep", "60"]) as child:
        process = identify(child.pid)
        assert process is not None
        descriptor = joined_network.open_namespace(process, kind)
        try:
            assert descriptor is not None
            word = {"network": "net"}.get(kind, kind)
            assert os.path.samestat(os.fstat(descriptor), os.stat(f"/proc/{child.pid}/ns/{word}")) or kind != "pid"
        finally:
            os.close(descriptor or 0)
            child.kill()
    for ended in (process, process._replace(start=process.start - 1), None):
        assert joined_network.open_namespace(ended, kind) is None


def test_a_number_that_is_given_away_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lives before, and another one has its number after."""
    process, answers = identify(os.getpid()), iter([True, False])
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(joined_network, "is_alive", lambda _process: next(answers))
    assert joined_network.open_namespace(process) is None
    assert os.listdir("/proc/self/fd") == before


def test_what_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    process = identify(os.getpid())

    def refuse(*_arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(joined_network, "is_alive", lambda _process: True)
    with pytest.raises(LongshoreError, match=r"Cannot open the network namespace of process \d+: Permission denied\."):
        joined_network.open_namespace(process)
