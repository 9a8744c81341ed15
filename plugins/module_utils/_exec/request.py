# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One command in a container, or one session of it: the request, the observed state, and the result. No behaviour."""

from __future__ import annotations

import enum
import typing as t

from . import output
from .process_spec import Command
from .session_status import Status


class Goal(str, enum.Enum):
    """The states that a task can request."""

    STARTED = "started"
    FINISHED = "finished"
    STOPPED = "stopped"
    ABSENT = "absent"


class Limits(t.NamedTuple):
    """Limits in seconds. ``run`` None: no limit."""

    run: float | None = None
    stop: float = 10
    kill: float = 5
    create: float = 240


class Request(t.NamedTuple):
    """The request. ``command`` is for STARTED, ``session`` (an id) for the other goals; ``creates`` and ``removes`` are
    patterns of paths in the container; ``runtime`` must be that of the container, if it is given."""

    name: str
    goal: Goal = Goal.STARTED
    command: Command | None = None
    stdin: bytes | None = None
    detach: bool = False
    session: str | None = None
    creates: str | None = None
    removes: str | None = None
    runtime: str | None = None
    limits: Limits = Limits()
    keep: output.Keep = output.KEEP


class Found(t.NamedTuple):
    """The facts that a plan depends on. ``status`` and ``argv`` are of the requested session, None and empty if it does not exist.
    ``has_files`` is also true of a session whose record is damaged. ``creates`` and ``removes`` say whether such a path exists;
    None: the request has no such pattern, or the container does not run."""

    status: Status | None = None
    argv: tuple[str, ...] = ()
    has_files: bool = False
    creates: bool | None = None
    removes: bool | None = None


class Result(t.NamedTuple):
    """The result of a session. ``rc`` None: conmon was killed, so no exit code was written; ``start`` and ``end`` are seconds since
    1970."""

    session: str
    pid: int | None
    rc: int | None
    stdout: bytes
    stderr: bytes
    start: float
    end: float
    timed_out: bool = False
    oom: bool = False  # a process of the container was killed meanwhile, because memory ran out
    truncated: tuple[str, ...] = ()  # of stdout and stderr those of which only the beginning is kept
