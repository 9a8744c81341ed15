# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals and check mode of one state directory, with containers on record only. Real commands: test_run.py."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    InvalidOption,
    LongshoreError,
    WrongState,
)
from ansible_collections.longshore.oci.plugins.module_utils._exec import run
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.plugins.module_utils._exec.request import Goal, Request
from ansible_collections.longshore.oci.plugins.module_utils._exec.sessions import Sessions
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Observed, Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

COMMAND = Command(("true",))


@pytest.fixture
def sessions(tmp_path: pathlib.Path) -> Sessions:
    return Sessions(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def test_a_constructor_does_nothing(tmp_path: pathlib.Path, sessions: Sessions) -> None:
    assert sessions.store
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("request_", [
    Request("../web", command=COMMAND), Request("web", Goal.ABSENT, session="../one"),
    Request("web", command=Command(())), Request("web", Goal.STOPPED, session=""),
    Request("web", command=Command(("cat",), tty=True), stdin=b"a\x03b\n"),
    Request("web", command=Command(("cat",), tty=True), stdin=b"x" * 4096),
])  # fmt: skip
@pytest.mark.parametrize("check", [False, True])
def test_what_is_refused_before_anything_is_read(
    tmp_path: pathlib.Path, sessions: Sessions, request_: Request, check: bool
) -> None:
    with pytest.raises(InvalidOption):
        sessions.converge(request_, check=check)
    assert os.listdir(tmp_path) == []


def test_another_runtime_than_that_of_the_container(tmp_path: pathlib.Path, sessions: Sessions) -> None:
    (tmp_path / "state/containers/web").mkdir(parents=True)
    sessions.store.save(builders.record())
    for runtime in ("crun", "/usr/bin/crun"):
        with pytest.raises(InvalidOption, match="was created with /usr/sbin/runc, not with"):
            sessions.converge(Request("web", command=COMMAND, runtime=runtime), check=True)
    for own in (None, "auto", "runc", "/usr/sbin/runc", "/usr//sbin/./runc", "/usr/bin/../sbin/runc"):
        assert sessions.converge(Request("web", Goal.ABSENT, session="one", runtime=own), check=True).plan.actions == ()


def test_what_is_gone_needs_no_removal(sessions: Sessions) -> None:
    outcome = sessions.converge(Request("web", Goal.ABSENT, session="one"))
    assert (outcome.plan.actions, outcome.seen, outcome.result) == ((), None, None)


def test_a_session_of_no_container_cannot_be_waited_for(sessions: Sessions) -> None:
    with pytest.raises(WrongState, match="The container web has no session one"):
        sessions.converge(Request("web", Goal.FINISHED, session="one"))


def test_check_mode_refuses_a_container_whose_state_is_unknown(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier tasks of the play do not change that."""
    seen = Observed("web", Status.UNKNOWN, builders.record(), problem="youki does not tell its state.")
    monkeypatch.setattr(run, "observe", lambda _store, _name: seen)
    with pytest.raises(LongshoreError, match="No command can run in the container web: youki does not tell its state"):
        sessions.converge(Request("web", command=COMMAND, creates="/done"), check=True)


def test_check_mode_changes_nothing(tmp_path: pathlib.Path, sessions: Sessions) -> None:
    """Not even of a container that is to be made earlier in the play."""
    outcome = sessions.converge(Request("web", command=COMMAND, creates="/done"), check=True)
    assert outcome.result is None
    assert [action.value for action in outcome.plan.actions] == ["run"]
    assert os.listdir(tmp_path) == []
