# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A paused container that was killed: how it will end, from the masks of signals of its first process."""

from __future__ import annotations

import os

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._container import frozen
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

NONE, KILL, TERM = "0000000000000000", "0000000000000100", "0000000000004000"


@pytest.mark.parametrize(
    ("own", "shared", "code"),
    [
        (NONE, NONE, None), (NONE, TERM, None), (NONE, KILL, 137), (KILL, NONE, 137),
        # A fatal signal: SIGKILL for each thread, and the one that was sent is shared.
        (KILL, TERM, 143), (KILL, "0000000000004100", 137),
    ],
)  # fmt: skip
def test_what_is_pending(own: str, shared: str, code: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"Name:\tx\nSigPnd:\t{own}\nShdPnd:\t{shared}\n"
    monkeypatch.setattr(frozen, "read_text", lambda _path: text)
    paused = builders.observed(Status.PAUSED)._replace(record=builders.record(init=identify(os.getpid())))
    found = frozen.look(paused)
    if code is None:
        assert found is paused
    else:
        assert (found.status, found.leftovers) == (Status.STOPPED, True)
        assert found.exit == (code, "killed", None, False)


def test_a_process_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "read_text", lambda _path: None)
    for init in (None, identify(os.getpid())):
        paused = builders.observed(Status.PAUSED)._replace(record=builders.record(init=init))
        assert frozen.look(paused) is paused
