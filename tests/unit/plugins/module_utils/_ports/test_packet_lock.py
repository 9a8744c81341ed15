# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules with which CRIU holds back packets, as CRIU itself loads them (criu/net.c), in a real namespace."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._ports import packet_lock
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Record
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, programs

LOCK = """*filter
:CRIU - [0:0]
-I INPUT -j CRIU
-I OUTPUT -j CRIU
-A CRIU -m mark --mark 0xC114 -j ACCEPT
-A CRIU -j DROP
COMMIT
"""


class Namespace:
    """A network namespace with rules of somebody else."""

    def __init__(self, name: str) -> None:
        self.name, self.path = name, netns.path_of(name)

    def does(self, *argv: str, said: str = "") -> str:
        work = ["ip", "netns", "exec", self.name, *argv]
        return subprocess.run(work, input=said, capture_output=True, text=True, check=True, timeout=60).stdout

    def lock(self) -> None:
        for program in ("iptables-restore", "ip6tables-restore"):
            self.does(program, "--noflush", said=LOCK)

    def passes(self) -> bool:
        """Whether packets pass: a port that nobody listens on refuses at once."""
        ask = "import socket; s = socket.socket(); s.settimeout(1); print(s.connect_ex(('127.0.0.1', 9)))"
        return self.does(sys.executable, "-c", ask).strip() == str(errno.ECONNREFUSED)


@pytest.fixture
def namespace() -> t.Iterator[Namespace]:
    name = f"lsu{os.getpid()}-lock"
    netns.create(name)
    found = Namespace(name)
    found.does("ip", "link", "set", "lo", "up")
    found.does("nft", "add table inet CRIUS; add chain inet CRIUS CRIU")
    found.does("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT")
    yield found
    netns.remove(name)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _saved(store: Store, name: str, path: str | None, phase: Phase = Phase.CHECKPOINTED, **more: t.Any) -> Record:
    """Save a container that was in a namespace; None: in one of its own."""
    entry = {"type": "network"} if path is None else {"type": "network", "path": path}
    os.makedirs(os.path.dirname(store.paths(name).config), exist_ok=True)
    pathlib.Path(store.paths(name).config).write_text(json.dumps({"linux": {"namespaces": [entry]}}), encoding="utf-8")
    return store.save(builders.record(name=name, phase=phase, init=None, monitor=None)._replace(**more))


def _is_locked(namespace: Namespace) -> bool:
    return ":CRIU " in namespace.does("iptables-save") or ":CRIU " in namespace.does("ip6tables-save")


def test_removed_without_the_rules_of_others(namespace: Namespace) -> None:
    before = namespace.does("iptables-save", "-t", "filter").count("\n-A ")
    assert namespace.passes()
    namespace.lock()
    namespace.lock()  # of a second container
    chain = "add chain inet CRIU-4711 output { type filter hook output priority 0; policy drop; }"
    namespace.does("nft", f"add table inet CRIU-4711; {chain}")
    assert not namespace.passes()
    for _again in range(2):
        packet_lock.remove(namespace.path, Deadline(60))
        assert namespace.passes()
        assert not _is_locked(namespace)
        assert namespace.does("iptables-save", "-t", "filter").count("\n-A ") == before == 1
        assert "table inet CRIUS {" in namespace.does("nft", "list", "ruleset")


@pytest.mark.parametrize("phase", [Phase.CHECKPOINTING, Phase.CHECKPOINTED, Phase.RESTORING])
def test_another_checkpointed_container_needs_them(namespace: Namespace, store: Store, phase: Phase) -> None:
    record = _saved(store, "web", namespace.path)
    _saved(store, "other", namespace.path, phase)
    namespace.lock()
    packet_lock.release(store, record)
    assert _is_locked(namespace)
    store.forget("other")
    packet_lock.release(store, record)
    assert not _is_locked(namespace)


@pytest.mark.parametrize(
    ("path", "phase"),
    [("/run/netns/lsu-none", Phase.CHECKPOINTED), (None, Phase.CHECKPOINTED), ("/proc/self/ns/net", Phase.CHECKPOINTED), ("same", Phase.RUNNING)],
)  # fmt: skip
def test_nobody_else_needs_them(namespace: Namespace, store: Store, path: str | None, phase: Phase) -> None:
    record = _saved(store, "web", namespace.path)
    _saved(store, "other", namespace.path if path == "same" else path, phase)
    namespace.lock()
    assert packet_lock.give_up(store, record) == []
    assert not _is_locked(namespace)


def test_of_a_living_container(namespace: Namespace, store: Store) -> None:
    """CRIU was killed: the namespace is that of the process, whatever the config says."""
    with subprocess.Popen(["ip", "netns", "exec", namespace.name, "sleep", "60"]) as process:
        try:
            while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
                pass
            record = _saved(store, "web", None, Phase.CHECKPOINTING, init=identify(process.pid))
            namespace.lock()
            packet_lock.release(store, record)
            assert not _is_locked(namespace)
        finally:
            process.kill()


def test_of_a_container_in_the_network_of_another(namespace: Namespace, store: Store) -> None:
    with subprocess.Popen(["ip", "netns", "exec", namespace.name, "sleep", "60"]) as process:
        try:
            while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
                pass
            _saved(store, "peer", None, Phase.RUNNING, init=identify(process.pid))
            record = _saved(store, "web", f"{store.paths('web').namespaces}/network/peer")
            namespace.lock()
            packet_lock.release(store, record)
            assert not _is_locked(namespace)
        finally:
            process.kill()


def test_a_failure_names_where_the_rules_are(
    namespace: Namespace, store: Store, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = _saved(store, "web", namespace.path)
    namespace.lock()
    path = programs.script(tmp_path / "iptables", 'case "$*" in *-X*) echo "no permission" >&2; exit 4;; esac')
    monkeypatch.setattr(packet_lock, "find_program", lambda name: path if name == "iptables" else f"/usr/bin/{name}")
    with pytest.raises(ProgramFailed, match="no permission"):
        packet_lock.release(store, record)
    [warning] = packet_lock.give_up(store, record)
    assert "chain CRIU of iptables" in warning
