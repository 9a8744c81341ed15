# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, WrongState
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import decide
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.decide import Context
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.plan import Action, Goal
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.request import Request
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.source import Source
from ansible_collections.longshore.oci.plugins.module_utils._host.detect import Host
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Checkpoint, Status
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, stored

pytestmark = pytest.mark.pure


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _context(store: Store, goal: Goal, **changes: t.Any) -> Context:
    request = Request("web", goal, **changes)
    return Context(store, Host(run_dir=store.run_dir), request, Source(store, request))


def _checkpointed(store: Store, **changes: t.Any) -> str:
    path = stored.write(f"{store.paths('web').state}/checkpoints/1", stored.manifest(**changes))
    store.save(builders.record(phase="checkpointed", checkpoint=Checkpoint(path)))
    return path


def test_nothing_there(store: Store) -> None:
    with pytest.raises(WrongState, match="it does not exist"):
        decide.decide(_context(store, Goal.CHECKPOINTED))
    with pytest.raises(WrongState, match="There is no checkpoint of the container web"):
        decide.decide(_context(store, Goal.RESTORED))
    assert decide.decide(_context(store, Goal.ABSENT))[1].actions == ()


def test_one_that_is_checkpointed(store: Store) -> None:
    _checkpointed(store)
    assert decide.decide(_context(store, Goal.CHECKPOINTED))[1] == ((), Status.CHECKPOINTED)
    assert decide.decide(_context(store, Goal.ABSENT))[1] == ((Action.DELETE,), Status.STOPPED)


@pytest.mark.parametrize(
    ("due", "there", "actions"),
    [
        (False, True, ()),
        (False, False, (Action.EXPORT,)),
        (True, True, (Action.EXPORT,)),
        (True, False, (Action.EXPORT,)),
    ],
)
def test_an_archive_that_is_due_is_written_in_any_case(
    store: Store, tmp_path: pathlib.Path, due: bool, there: bool, actions: tuple[Action, ...]
) -> None:
    """One of the same name is of an earlier checkpoint."""
    path = f"{tmp_path}/web.tar"
    _checkpointed(store, export=path if due else None)
    if there:
        pathlib.Path(path).write_text("of before")
    assert decide.decide(_context(store, Goal.CHECKPOINTED, archive=path))[1].actions == actions


def test_a_damaged_one_is_named_and_can_be_removed(store: Store) -> None:
    path = _checkpointed(store)
    pathlib.Path(path, "longshore.json").write_text('{"format": 1, "name": 5}')
    for goal in (Goal.CHECKPOINTED, Goal.RESTORED):
        with pytest.raises(
            InvalidOption, match=f"The checkpoint in {path} is damaged: longshore.json has a wrong value for name"
        ):
            decide.decide(_context(store, goal))
    assert decide.decide(_context(store, Goal.ABSENT))[1].actions == (Action.DELETE,)


def test_an_archive_that_is_not_there(store: Store) -> None:
    with pytest.raises(WrongState, match="There is no archive to restore web from"):
        decide.decide(_context(store, Goal.RESTORED, archive="/not/there"))
