# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other containers are processes with namespaces of their own, and records of ours."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, ProgramFailed, WrongState
from ansible_collections.longshore.oci.plugins.module_utils._base.files import make_directory, write_text
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, identify
from ansible_collections.longshore.oci.plugins.module_utils._config import config
from ansible_collections.longshore.oci.plugins.module_utils._container import joined_namespaces
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Record
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

WEB = builders.record()


class Place:
    """A store with containers."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.store = Store(state_dir=f"{directory}/state", run_dir=f"{directory}/run")

    def add(self, name: str, init: ProcessId | None = None, shares: str = "", **changes: t.Any) -> Record:
        record = builders.record(name=name, init=init, **changes)
        make_directory(self.store.paths(name).state)
        self.store.save(record)
        write_text(self.store.paths(name).config, json.dumps(self.config(record, shares)))
        return record

    def config(self, record: Record, *shares: str, **more: t.Any) -> dict[str, t.Any]:
        """``network=db``, or ``network=/a/path``."""
        spaces: list[dict[str, str]] = []
        for kind, _equals, what in (each.partition("=") for each in shares if each):
            spaces.append({"type": kind, "path": what if what.startswith("/") else f"container:{what}"})
        return config.effective(
            builders.config(linux={"namespaces": spaces, **more}), record, self.store.paths(record.name)
        )

    def check(self, *shares: str, record: Record = WEB) -> None:
        joined_namespaces.check(self.store, record, self.config(record, *shares))
        joined_namespaces.check_running(self.store, record, self.config(record, *shares))


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def db(spawn: t.Any) -> ProcessId:
    """In namespaces of its own."""
    child: subprocess.Popen[bytes] = spawn("unshare", "--net", "--ipc", "--uts", "sh", "-c", "kill -STOP $$")
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    return t.cast(ProcessId, identify(child.pid))


def _stat(pid: int, name: str = "net") -> tuple[int, int]:
    found = os.stat(f"/proc/{pid}/ns/{name}")
    return found.st_dev, found.st_ino


class TestCheck:
    def test_one_that_runs(self, place: Place, db: ProcessId) -> None:
        place.add("db", db)
        place.check("network=db", "ipc=db", "uts=db", "pid=db")

    @pytest.mark.pure
    def test_what_is_no_business_of_ours(self, place: Place) -> None:
        place.check("network=/run/netns/a")
        joined_namespaces.check(place.store, WEB, builders.config())

    @pytest.mark.parametrize(
        ("shares", "says"),
        [
            ("network=none", "of the container none, which does not exist. Create it first"),
            ("network=stopped", "of the container stopped, which does not run. Start it first"),
            ("pid=later", "of the container later, which does not run"),
            ("pid=rebooted", "of the container rebooted, which does not run"),
            ("network=web", "cannot share its network namespace with itself"),
            ("network=around", "of the container around, which shares a namespace of web"),
            ("user=db", "cannot share the user namespace of the container db"),
            ("cgroup=db", "cannot share the cgroup namespace"),
            ("mount=db", "cannot share the mount namespace"),
            ("network=", "'' cannot be the name of a container"),
            ("network=..", "cannot be the name"),
            ("network=../../../../../proc/1/ns/net", "cannot be the name"),
            ("network=a/b", "cannot be the name"),
            ("network=-x", "cannot be the name"),
            ("network=/proc/1/ns/net", "by the number of a process.*Run oci_bundle again"),
            ("pid=/proc/self/ns/pid", "by the number of a process"),
            ("user=/proc/1/ns/user", "by the number of a process"),
        ],
    )
    def test_refused(self, place: Place, db: ProcessId, shares: str, says: str) -> None:
        place.add("db", db)
        place.add("stopped")
        # The number is of another process by now.
        place.add("later", db._replace(start=db.start - 1))
        place.add("rebooted", db._replace(boot="00000000-0000-0000-0000-000000000000"))
        place.add("around", db, "pid=between")
        place.add("between", db, "network=web")
        with pytest.raises((InvalidOption, WrongState), match=says):
            place.check(shares)

    def test_of_another_user_than_root(self, place: Place, db: ProcessId, monkeypatch: pytest.MonkeyPatch) -> None:
        place.add("db", db)
        shared = place.config(WEB, "network=db")
        shared["linux"]["namespaces"].append({"type": "user"})
        joined_namespaces.check(place.store, WEB, shared)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(InvalidOption, match=r"cannot share the network namespace of another one\. Only root can"):
            joined_namespaces.check(place.store, WEB, shared)


class TestOffered:
    def _path(self, place: Place, kind: str) -> str:
        return f"{place.store.paths('web').namespaces}/{kind}/db"

    def test_the_runtime_finds_them_and_afterwards_the_container_has_them(
        self, place: Place, db: ProcessId, open_files: t.Any
    ) -> None:
        place.add("db", db)
        before = open_files()
        with joined_namespaces.offered(place.store, WEB, place.config(WEB, "network=db", "uts=db")) as settle:
            descriptor = os.open(self._path(place, "network"), os.O_RDONLY)
            assert (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino) == _stat(db.pid)
            os.close(descriptor)
            settle(db.pid)
        assert os.readlink(self._path(place, "uts")) == f"/proc/{db.pid}/ns/uts"
        assert open_files() == before

    def test_what_is_open_stays_that_when_the_number_is_given_away(
        self, place: Place, db: ProcessId, spawn: t.Any
    ) -> None:
        place.add("db", db)
        wanted = _stat(db.pid)
        with joined_namespaces.offered(place.store, WEB, place.config(WEB, "network=db")) as settle:
            os.kill(db.pid, 9)
            os.waitpid(db.pid, 0)
            descriptor = os.open(self._path(place, "network"), os.O_RDONLY)
            assert (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino) == wanted
            os.close(descriptor)
            with pytest.raises(ProgramFailed, match="has not joined the given network namespace"):
                settle(spawn().pid)

    @pytest.mark.parametrize("changes", [{"start": 1}, {"boot": "another"}, {"pid": 1}])
    def test_a_process_that_is_another(self, place: Place, db: ProcessId, changes: t.Any, open_files: t.Any) -> None:
        place.add("db", db._replace(**changes))
        before = open_files()
        offered = joined_namespaces.offered(place.store, WEB, place.config(WEB, "network=db"))
        with pytest.raises(WrongState, match=r"The container db, whose network .* does not run"), offered:
            pass
        assert not os.path.lexists(self._path(place, "network"))
        assert open_files() == before


@pytest.mark.pure
def test_nothing_of_others() -> None:
    store = Store(state_dir="/nowhere", run_dir="/nowhere")
    assert joined_namespaces.peers(builders.config(), store.paths("web")) == {}
