# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._exec.session_store import Ended, Seen, Session
from ansible_collections.longshore.oci.plugins.module_utils._module import session

pytestmark = pytest.mark.pure


def _seen(end: Ended | None = None, **changes: t.Any) -> Seen:
    values: dict[str, t.Any] = {
        "id": "one", "argv": ("sleep", "1"), "user": "app", "tty": True, "detached": True, "owner": None, "pid": 5,
        "started": 0.5,
    }  # fmt: skip
    return Seen(Session(**{**values, **changes}), end, "/run/log")


def test_one_that_runs() -> None:
    assert session.describe(_seen()) == {
        "session": "one", "status": "running", "detached": True, "argv": ["sleep", "1"], "user": "app", "tty": True, "pid": 5,
        "rc": None, "signal": None, "oom_killed": False, "timed_out": False, "started_at": "1970-01-01T00:00:00.500000Z", "finished_at": None,
        "log_path": "/run/log",
    }  # fmt: skip


def test_one_that_starts() -> None:
    found = session.describe(_seen(pid=None, started=None))
    assert (found["status"], found["pid"], found["started_at"]) == ("starting", None, None)


@pytest.mark.parametrize(
    ("code", "signal"), [(0, None), (1, None), (128, None), (137, "KILL"), (143, "TERM"), (255, None), (None, None)]
)
def test_one_that_has_ended(code: int | None, signal: str | None) -> None:
    found = session.describe(_seen(Ended(code, 1.5, oom=code == 137)))
    assert (found["status"], found["pid"], found["rc"], found["signal"]) == ("finished", None, code, signal)
    assert found["oom_killed"] is (code == 137)
    assert found["finished_at"] == "1970-01-01T00:00:01.500000Z"
