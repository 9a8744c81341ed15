# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One command in a container, or one session of it: as it is asked for, as it is found, and how it went. No behaviour here."""

from __future__ import annotations

import enum
import typing as t

from . import output
from .process_spec import Command


class Goal(str, enum.Enum):
    """The states that can be asked for."""

    STARTED = "started"
    FINISHED = "finished"
    STOPPED = "stopped"
    ABSENT = "absent"


class Status(str, enum.Enum):
    """The state of a session that there is."""

    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"


class Limits(t.NamedTuple):
    """Seconds. ``run`` None: as long as it takes."""

    run: float | None = None
    stop: float = 10
    kill: float = 5
    create: float = 240


class Request(t.NamedTuple):
    """What is asked for. ``command`` is for STARTED, ``session`` (an id) for the other goals; ``creates`` and ``removes`` are
    patterns of paths in the container; ``runtime`` must be that of the container, where it is given."""

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
    """What a plan depends on. ``status`` and ``argv`` are of the session that is asked for, None and empty where there is none.
    ``has_files`` is also true of a session whose record is damaged. ``creates`` and ``removes`` say whether such a path exists;
    None: the request has no such pattern, or the container does not run."""

    status: Status | None = None
    argv: tuple[str, ...] = ()
    has_files: bool = False
    creates: bool | None = None
    removes: bool | None = None


class Result(t.NamedTuple):
    """How a session went. ``rc`` None: conmon was killed, so no exit code was written; ``start`` and ``end`` are seconds since
    1970."""

    session: str
    pid: int | None
    rc: int | None
    stdout: bytes
    stderr: bytes
    start: float
    end: float
    timed_out: bool = False
    truncated: tuple[str, ...] = ()  # of stdout and stderr those of which only the beginning is kept
