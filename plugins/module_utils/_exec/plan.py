# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide the action for a command or a session. Pure, and the same with and without check mode."""

from __future__ import annotations

import enum
import typing as t

from .request import Found, Goal, Request
from .session_status import Status


class Action(str, enum.Enum):
    """The steps of a plan."""

    RUN = "run"  # and wait for the end
    START = "start"  # and leave it running
    WAIT = "wait"
    STOP = "stop"
    FORGET = "forget"


class Plan(t.NamedTuple):
    """At most one action. ``unneeded`` names the option, creates or removes, that makes the command unneeded."""

    actions: tuple[Action, ...] = ()
    unneeded: str | None = None


def plan(request: Request, found: Found) -> Plan:
    """Return the plan for a request."""
    if request.goal is Goal.STARTED:
        return _start(request, found)
    if request.goal is Goal.FINISHED:
        return Plan((Action.WAIT,))
    if request.goal is Goal.STOPPED:
        return Plan((Action.STOP,) if found.status in (Status.STARTING, Status.RUNNING) else ())
    return Plan((Action.FORGET,) if found.has_files else ())


def _start(request: Request, found: Found) -> Plan:
    if found.creates is True:
        return Plan(unneeded="creates")
    if found.removes is False:
        return Plan(unneeded="removes")
    if not request.detach:
        return Plan((Action.RUN,))
    # A launch may be another task's, or a killed one's: the start waits for the first, and clears away the second.
    same = found.status is Status.RUNNING and request.command is not None and found.argv == request.command.argv
    return Plan(() if same else (Action.START,))
