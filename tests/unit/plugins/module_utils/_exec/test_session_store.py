# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId
from ansible_collections.longshore.oci.plugins.module_utils._exec import session_store
from ansible_collections.longshore.oci.plugins.module_utils._exec.session_store import (
    Ended,
    Seen,
    Session,
    SessionPaths,
)
from ansible_collections.longshore.oci.plugins.module_utils._module.session import describe
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import exec_session
from ansible_collections.longshore.oci.tests.unit.exec_session import container

pytestmark = pytest.mark.pure

__all__ = ["container"]  # the fixture


@pytest.mark.parametrize("identifier", ["a", "A-1_2.3", "x" * 64, "0"])
def test_ids(identifier: str) -> None:
    session_store.check_id(identifier)


@pytest.mark.parametrize("identifier", ["", ".", "..", "-a", "a/b", "a b", "x" * 65, "ä", "a\n"])
def test_what_is_no_id(identifier: str) -> None:
    with pytest.raises(InvalidOption, match="cannot be the id of a session"):
        session_store.check_id(identifier)


class TestKept:
    def test_it_comes_back_as_it_was(self, container: Paths) -> None:
        made = exec_session.session(
            owner=exec_session.myself(),
            process=exec_session.myself(),
            monitor=exec_session.myself(),
            user="app",
            tty=True,
            timed_out=True,
        )
        paths = SessionPaths(container, "one")
        session_store.lay_out(paths, made)
        assert session_store.load(paths) == made
        assert os.stat(paths.record).st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "one"}', '{"owner": 5}'])
    def test_a_damaged_one_is_none(self, container: Paths, text: str) -> None:
        paths = exec_session.kept(container)
        pathlib.Path(paths.record).write_text(text)
        assert session_store.load(paths) is None
        assert session_store.look(paths, exec_session.RECORD) is None

    def test_forgotten_there_is_nothing_left(self, container: Paths) -> None:
        one, two = exec_session.kept(container), exec_session.kept(container, id="two")
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
            exec_session.kept(container, id=name, started=started, pid=5 if started else None)
        assert sorted(paths.id for paths in session_store.all_of(container)) == ["ape", "bee", "cow", "zoo"]
        assert [each.session.id for each in session_store.look_at_all(container, exec_session.RECORD)] == [
            "zoo",
            "cow",
            "ape",
            "bee",
        ]
        assert session_store.look_at_all(container, None) == []


def test_what_has_no_record_yet_goes(container: Paths) -> None:
    """A damaged record is another matter: its command may run."""
    exec_session.kept(container)
    pathlib.Path(exec_session.kept(container, id="damaged").record).write_text("{")
    begun = SessionPaths(container, "begun")
    for directory in (begun.bundle, begun.exits, begun.persist):
        os.makedirs(directory)
    session_store.forget_unrecorded(container)
    assert sorted(paths.id for paths in session_store.all_of(container)) == ["damaged", "one"]
    assert not os.path.exists(begun.persist)


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
        assert exec_session.session(**changes).abandoned is abandoned

    @pytest.mark.parametrize("changes", [{"detached": False}, {"detached": True, "pid": None}])
    def test_of_a_task_that_lives(self, changes: dict[str, t.Any]) -> None:
        assert exec_session.session(owner=exec_session.myself(), **changes).abandoned is False


class TestEnd:
    def test_it_runs(self, container: Paths) -> None:
        paths = exec_session.kept(container, process=exec_session.myself())
        session = t.cast(Session, session_store.load(paths))
        assert session_store.ended(paths, exec_session.RECORD, session) is None
        listed = describe(t.cast(Seen, session_store.look(paths, exec_session.RECORD)))
        assert (listed["status"], listed["pid"], listed["rc"]) == ("running", 5, None)
        assert listed["started_at"] == "1970-01-01T00:00:01.500000Z"

    def test_it_is_being_launched(self, container: Paths) -> None:
        listed = describe(t.cast(Seen, session_store.look(exec_session.kept(container, pid=None), exec_session.RECORD)))
        assert listed["status"] == "starting"

    @pytest.mark.parametrize(("where", "code"), [("exits", "7"), ("persist", "137")])
    def test_conmon_has_written_how(self, container: Paths, where: str, code: str) -> None:
        """Two files on two file systems: one that is full leaves an empty file."""
        paths = exec_session.kept(container, process=exec_session.myself())
        files = {"exits": f"{paths.exits}/web", "persist": f"{paths.persist}/exit"}
        for name, file in files.items():
            pathlib.Path(file).write_text(code if name == where else "")
        listed = describe(t.cast(Seen, session_store.look(paths, exec_session.RECORD)))
        assert (listed["status"], listed["rc"], listed["pid"]) == ("finished", int(code), None)
        assert listed["signal"] == {"7": None, "137": "KILL"}[code]
        assert listed["finished_at"].endswith("Z")

    def test_nobody_knows_how(self, container: Paths) -> None:
        paths = exec_session.kept(container)
        assert session_store.ended(paths, exec_session.RECORD, exec_session.session()) == Ended(None, None)


@pytest.mark.parametrize(
    ("code", "name"), [(None, None), (0, None), (128, None), (129, "HUP"), (137, "KILL"), (143, "TERM"), (193, None), (255, None)]
)  # fmt: skip
def test_signals(code: int | None, name: str | None) -> None:
    assert session_store.signal_of(code) == name
