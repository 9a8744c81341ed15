# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that is stopped during its start: no script of its unit asks the container to end."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd
from ansible_collections.longshore.oci.plugins.module_utils._host.systemd import SYSTEMD
from ansible_collections.longshore.oci.plugins.module_utils._service import stop_starting
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


class Bus(stop_starting.Bus):
    """A unit in one substate."""

    def __init__(self, substate: str) -> None:
        self._state = substate
        self.calls: list[tuple[object, ...]] = []

    def __del__(self) -> None: ...

    def call(self, method: str, types: str, *values: object, to: tuple[str, ...] = SYSTEMD, reply: bool = False) -> str:
        self.calls.append((method, types, *values))
        return "/the/unit" if reply else ""

    def _substate(self, path: str) -> str:
        assert path == "/the/unit"
        return self._state


class Init(PidFd):
    """A process that keeps which signals it is sent."""

    def __init__(self, fd: int | None) -> None:
        self.fd = fd
        self.signals: list[int] = []

    def send(self, number: int) -> None:
        self.signals.append(number)


# Substates of a service: systemd.service(5), and service.c of systemd.
WAITS = {"start-pre": True, "start": True, "start-post": True, "stop-sigterm": True, "final-sigterm": True,
         "running": False, "stop": False, "dead": False, "": False}  # fmt: skip


@pytest.mark.parametrize("substate", WAITS)
def test_when_no_script_runs(substate: str) -> None:
    bus = Bus(substate)
    assert bus.runs_no_stop("web.service") is WAITS[substate]
    assert bus.calls.pop() == ("GetUnit", "s", "web.service")
    bus.end_start("web.service")
    assert (("KillUnit", "ssi", "web.service", "all", 9) in bus.calls) is WAITS[substate]


@pytest.mark.parametrize(
    ("substate", "fd", "status", "before", "after"),
    [
        ("start", 3, Status.RUNNING, [15], [15, 9]),
        # Its program has not started: no signal but SIGKILL reaches it.
        ("start", 3, Status.CREATED, [9], [9, 9]),
        ("start", None, Status.RUNNING, [], []),
        # Its unit has a script that does it.
        ("stop", 3, Status.RUNNING, [], []),
    ],
)
def test_what_the_container_is_sent(
    substate: str, fd: int | None, status: Status, before: list[int], after: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_starting, "live_status", lambda _record: status)
    init = Init(fd)
    with stop_starting.stop_sent(Bus(substate), "web.service", builders.record(), init, 15):
        assert init.signals == before
    assert init.signals == after
