# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, identify
from ansible_collections.longshore.oci.plugins.module_utils._exec import session_store
from ansible_collections.longshore.oci.plugins.module_utils._exec.session_store import (
    Ended,
    Seen,
    Session,
    SessionPaths,
)
from ansible_collections.longshore.oci.plugins.module_utils._module.session import describe
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

# The conmon, and the runtime, of these tests are shells.
SHELL = os.path.realpath("/bin/sh")
RECORD = builders.record(conmon=builders.record().conmon._replace(path=SHELL))


@pytest.fixture
def container(tmp_path: pathlib.Path) -> Paths:
    return Paths("web", state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _myself() -> ProcessId:
    return t.cast(ProcessId, identify(os.getpid()))


def _session(**changes: t.Any) -> Session:
    values: dict[str, t.Any] = {
        "id": "one", "argv": ("sleep", "1"), "user": None, "tty": False, "detached": True, "owner": None, "pid": 5,
        "started": 1.5,
    }  # fmt: skip
    return Session(**{**values, **changes})


def _kept(container: Paths, **changes: t.Any) -> SessionPaths:
    session = _session(**changes)
    paths = SessionPaths(container, session.id)
    session_store.lay_out(paths, session)
    return paths


@pytest.mark.parametrize("identifier", ["a", "A-1_2.3", "x" * 64, "0"])
def test_ids(identifier: str) -> None:
    session_store.check_id(identifier)


@pytest.mark.parametrize("identifier", ["", ".", "..", "-a", "a/b", "a b", "x" * 65, "ä", "a\n"])
def test_what_is_no_id(identifier: str) -> None:
    with pytest.raises(InvalidOption, match="cannot be the id of a session"):
        session_store.check_id(identifier)


class TestKept:
    def test_it_comes_back_as_it_was(self, container: Paths) -> None:
        made = _session(owner=_myself(), process=_myself(), monitor=_myself(), user="app", tty=True, timed_out=True)
        paths = SessionPaths(container, "one")
        session_store.lay_out(paths, made)
        assert session_store.load(paths) == made
        assert os.stat(paths.record).st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "one"}', '{"owner": 5}'])
    def test_a_damaged_one_is_none(self, container: Paths, text: str) -> None:
        paths = _kept(container)
        pathlib.Path(paths.record).write_text(text)
        assert session_store.load(paths) is None
        assert session_store.look(paths, RECORD) is None

    def test_forgotten_there_is_nothing_left(self, container: Paths) -> None:
        one, two = _kept(container), _kept(container, id="two")
        pathlib.Path(one.log).write_text("x")
        session_store.forget(one)
        assert os.listdir(container.exec) == ["two.session"]
        session_store.forget(two)
        assert not os.path.exists(container.exec)
        assert os.listdir(container.persist) == []
        session_store.forget(two)

    def test_listed_by_age(self, container: Paths) -> None:
        assert session_store.all_of(container) == []
        for name, started in (("zoo", 1.0), ("ape", 3.0), ("bee", None), ("cow", 2.0)):
            _kept(container, id=name, started=started, pid=5 if started else None)
        assert sorted(paths.id for paths in session_store.all_of(container)) == ["ape", "bee", "cow", "zoo"]
        assert [each.session.id for each in session_store.look_at_all(container, RECORD)] == [
            "zoo",
            "cow",
            "ape",
            "bee",
        ]
        assert session_store.look_at_all(container, None) == []


class TestAbandoned:
    GONE = ProcessId(1, 0, "an earlier boot")

    @pytest.mark.parametrize(
        ("changes", "abandoned"),
        [
            ({"detached": True, "owner": GONE}, False),
            ({"detached": True, "owner": GONE, "pid": None}, True),  # killed while it launched
            ({"detached": False, "owner": GONE}, True),
            ({"detached": False, "owner": None}, True),
        ],
    )
    def test_of_a_task_that_is_gone(self, changes: dict[str, t.Any], abandoned: bool) -> None:
        assert _session(**changes).abandoned is abandoned

    @pytest.mark.parametrize("changes", [{"detached": False}, {"detached": True, "pid": None}])
    def test_of_a_task_that_lives(self, changes: dict[str, t.Any]) -> None:
        assert _session(owner=_myself(), **changes).abandoned is False


class TestEnd:
    def test_it_runs(self, container: Paths) -> None:
        paths = _kept(container, process=_myself())
        session = t.cast(Session, session_store.load(paths))
        assert session_store.ended(paths, RECORD, session) is None
        listed = describe(t.cast(Seen, session_store.look(paths, RECORD)))
        assert (listed["status"], listed["pid"], listed["rc"]) == ("running", 5, None)
        assert listed["started_at"] == "1970-01-01T00:00:01.500000Z"

    def test_it_is_being_launched(self, container: Paths) -> None:
        listed = describe(t.cast(Seen, session_store.look(_kept(container, pid=None), RECORD)))
        assert listed["status"] == "starting"

    @pytest.mark.parametrize(("where", "code"), [("exits", "7"), ("persist", "137")])
    def test_conmon_has_written_how(self, container: Paths, where: str, code: str) -> None:
        """Two files on two file systems: one that is full leaves an empty file."""
        paths = _kept(container, process=_myself())
        files = {"exits": f"{paths.exits}/web", "persist": f"{paths.persist}/exit"}
        for name, file in files.items():
            pathlib.Path(file).write_text(code if name == where else "")
        listed = describe(t.cast(Seen, session_store.look(paths, RECORD)))
        assert (listed["status"], listed["rc"], listed["pid"]) == ("finished", int(code), None)
        assert listed["signal"] == {"7": None, "137": "KILL"}[code]
        assert listed["finished_at"].endswith("Z")

    def test_nobody_knows_how(self, container: Paths) -> None:
        paths = _kept(container)
        assert session_store.ended(paths, RECORD, _session()) == Ended(None, None)


@pytest.mark.parametrize(
    ("code", "name"), [(None, None), (0, None), (128, None), (129, "HUP"), (137, "KILL"), (143, "TERM"), (193, None), (255, None)]
)  # fmt: skip
def test_signals(code: int | None, name: str | None) -> None:
    assert session_store.signal_of(code) == name
