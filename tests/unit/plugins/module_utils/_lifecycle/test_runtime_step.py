# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A step of the runtime that fails counts only where it is not done."""

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    DeadlineExceeded,
    LongshoreError,
    ProgramFailed,
)
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import runtime_step
from ansible_collections.longshore.oci.plugins.module_utils._runtime.runtime import Runtime
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Record, Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


def _step(monkeypatch: pytest.MonkeyPatch, record: Record, status: Status, failure: LongshoreError | None) -> list[str]:
    verbs: list[str] = []

    def call(_self: Runtime, verb: str) -> None:
        verbs.append(verb)
        if failure:
            raise failure

    monkeypatch.setattr(Runtime, "call", call)
    monkeypatch.setattr(runtime_step, "live_status", lambda _record: status)
    runtime_step.call_unless_done(Runtime(record, "/nowhere/log"), "pause", record, Status.PAUSED)
    return verbs


@pytest.mark.parametrize(
    ("alive", "status", "failure", "raises"),
    [
        (True, Status.RUNNING, None, False),
        (True, Status.PAUSED, ProgramFailed("It is paused."), False),
        (True, Status.RUNNING, ProgramFailed("It cannot be paused."), True),
        (True, Status.UNKNOWN, ProgramFailed("It cannot be paused."), True),
        # One that has ended has no status.
        (False, Status.PAUSED, ProgramFailed("It does not exist."), True),
        # It may still do it.
        (True, Status.PAUSED, DeadlineExceeded("It took too long."), True),
    ],
)
def test_a_failure(
    alive: bool, status: Status, failure: LongshoreError | None, raises: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = builders.record(init=identify(os.getpid()) if alive else None)
    if raises:
        with pytest.raises(t.cast("type[LongshoreError]", type(failure))) as caught:
            _step(monkeypatch, record, status, failure)
        assert caught.value is failure
    else:
        assert _step(monkeypatch, record, status, failure) == ["pause"]
