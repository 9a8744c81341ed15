# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a container that lives, by the word of its runtime."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._host import asked, cgroup
from ansible_collections.longshore.oci.plugins.module_utils._runtime.runtime import Runtime
from ansible_collections.longshore.oci.plugins.module_utils._runtime.state_command import State
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program, Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

RECORD = builders.record(runtime=Program("youki", "/opt/youki", "0.5.3"), cgroup_path="/web")


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("status", [Status.CREATED, Status.RUNNING, Status.PAUSED, Status.STOPPED])
def test_what_it_says_counts(status: Status, frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for a container that a freezer holds, of which not every runtime knows."""
    monkeypatch.setattr(Runtime, "state", lambda _self: State(status, "/srv/web", status.value))
    monkeypatch.setattr(cgroup, "is_frozen", lambda path: frozen and path == "/web")
    paused = frozen and status is Status.RUNNING
    assert asked.status(RECORD) == (Status.PAUSED if paused else status, "")


def test_what_nobody_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "state", lambda _self: State(None, None, "dreaming."))
    assert asked.status(RECORD) == (Status.UNKNOWN, "youki does not tell the state of web: it says dreaming.")


def test_one_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Runtime) -> t.NoReturn:
        raise ProgramFailed("youki does not answer.", hint="Wait.")

    monkeypatch.setattr(Runtime, "state", fail)
    assert asked.status(RECORD) == (Status.UNKNOWN, "youki does not answer.")
