# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exec sessions: what is kept of each, how it is doing, and its end.

They are in the run directory of their container, and so end with it; the output of a detached one and a second copy of its
exit code are in the state directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import typing as t

from .._base.errors import InvalidOption
from .._base.files import make_directory, read_json, read_text, remove_tree, write_text
from .._base.process import ProcessId, is_alive, signal_name
from .._conmon.exit_files import exit_file
from .._conmon.memory_mark import memory_ran_out
from .._state.model import Record
from .._state.store import Paths
from .session_status import Status

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def check_id(identifier: str) -> None:
    if not _ID.fullmatch(identifier):
        hint = "Use letters, digits, '_', '-' and '.', at most 64 of them, with no '-' or '.' at the beginning."
        raise InvalidOption(f"{identifier!r} cannot be the id of a session.", hint=hint)


class SessionPaths(Paths):
    """All paths of one session, with the same names as those of its container."""

    def __init__(self, container: Paths, identifier: str) -> None:
        self.name = container.name
        self.id = identifier
        self.run = container.exec
        self.bundle = f"{container.exec}/{identifier}.session"
        self.exits = f"{self.bundle}/exits"
        self.persist = f"{container.persist}/exec/{identifier}"
        self.record = f"{self.bundle}/session.json"
        self.spec = f"{self.bundle}/process.json"
        self.pidfile = f"{self.bundle}/pid"
        self.conmon_pidfile = f"{self.bundle}/conmon.pid"
        self.runtime_log = f"{self.bundle}/runtime.log"
        self.conmon_log = f"{self.bundle}/conmon.log"
        self.log = f"{self.persist}/output.log"


class Session(t.NamedTuple):
    """The record of a session. One JSON file, replaced as a whole. Without ``pid``, it is not launched yet."""

    id: str
    argv: tuple[str, ...]
    user: str | None
    tty: bool
    detached: bool
    owner: ProcessId | None  # the task. A session that it waits for, or has not completely launched, ends with it
    pid: int | None = None
    process: ProcessId | None = None  # None also if it ended before it could be identified
    monitor: ProcessId | None = None
    started: float | None = None  # seconds since 1970
    timed_out: bool = False

    @property
    def abandoned(self) -> bool:
        """Tell whether the task has ended, so that no task will ask for the result."""
        return not (self.detached and self.pid) and not is_alive(self.owner)


class Ended(t.NamedTuple):
    """The end of a session. ``code`` None: conmon was killed, or could not write it."""

    code: int | None
    finished: float | None  # seconds since 1970
    oom: bool = False


def load(paths: SessionPaths) -> Session | None:
    value = read_json(paths.record) or {}
    try:
        known = {name: value[name] for name in Session._fields}
        for name in ("owner", "process", "monitor"):
            known[name] = ProcessId(*known[name]) if known[name] else None
        return Session(**{**known, "argv": tuple(known["argv"])})
    except (KeyError, TypeError):
        return None


def save(paths: SessionPaths, session: Session) -> Session:
    write_text(paths.record, json.dumps(session._asdict()))
    return session


def lay_out(paths: SessionPaths, session: Session) -> None:
    """Create the files of a session before its launch. The record is first, so that no directory is without one for long."""
    for directory in (paths.bundle, paths.exits, *([paths.persist] if session.detached else [])):
        make_directory(directory)
    save(paths, session)
    write_text(paths.runtime_log, "")  # The runtime would create it readable for others.


def forget(paths: SessionPaths) -> None:
    for directory in (paths.persist, paths.bundle):
        if os.path.isdir(directory):
            remove_tree(directory)
    for directory in (os.path.dirname(paths.persist), paths.run):
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(directory)


def forget_unrecorded(container: Paths) -> None:
    """Remove the sessions without a record, of which nothing was launched: a task was killed while it made their files. The caller
    has the lock of the container, so that no other task is about to write one."""
    for paths in all_of(container):
        if not os.path.lexists(paths.record):
            forget(paths)


def all_of(container: Paths) -> list[SessionPaths]:
    """Return the sessions of a container, unordered."""
    names = os.listdir(container.exec) if os.path.isdir(container.exec) else []
    return [SessionPaths(container, name[: -len(".session")]) for name in names if name.endswith(".session")]


def ended(paths: SessionPaths, record: Record, session: Session) -> Ended | None:
    """Return how a session ended, or None while it runs or conmon has not written that yet."""
    path = exit_file(record, paths)
    if path is None:
        running = session.pid is None or is_alive(session.process) or is_alive(session.monitor)
        return None if running else Ended(None, None)
    code = int((read_text(path) or "").strip())
    return Ended(code if code >= 0 else None, os.stat(path).st_mtime, memory_ran_out(paths))


def signal_of(code: int | None) -> str | None:
    """Return the name of the signal for an exit code of 128 plus its number, as in a shell and conmon."""
    return signal_name(code - 128) if code is not None and 128 < code <= 128 + signal.SIGRTMAX else None


class Seen(t.NamedTuple):
    """A session as it is now. ``end`` None: it has not ended. ``log`` is the file with the output of a detached one."""

    session: Session
    end: Ended | None
    log: str | None

    @property
    def status(self) -> Status:
        if self.end is not None:
            return Status.FINISHED
        return Status.RUNNING if self.session.pid else Status.STARTING


def has_files(paths: SessionPaths) -> bool:
    """Return whether anything is kept of a session, readable or not."""
    return os.path.isdir(paths.bundle)


def look(paths: SessionPaths, record: Record) -> Seen | None:
    """Return a session as it is now, None where there is none, or only a damaged record."""
    session = load(paths)
    return Seen(session, ended(paths, record, session), paths.log if session.detached else None) if session else None


def look_at_all(container: Paths, record: Record | None) -> list[Seen]:
    """Return the sessions of a container, the oldest first, and last those that are being launched."""
    found = [look(paths, record) for paths in all_of(container)] if record else []
    return sorted((each for each in found if each), key=lambda each: (each.session.started or 1e18, each.session.id))
