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

from .._base.deadline import IN_MOVED_TO, Deadline, wait_until
from .._base.errors import DeadlineExceeded, EngineError, InvalidInput
from .._base.files import make_directory, read_json, read_text, remove_tree, write_text
from .._base.process import (
    Handle,
    ProcessId,
    boot_id,
    identify,
    in_pid_file,
    is_alive,
    kill_and_wait,
    signal_name,
    stuck_in,
)
from .._container.observe import EXIT_FILE_SECONDS, written
from .._state.conmon_processes import RUNTIME_PIDFILE, find_conmons, with_option
from .._state.model import Record
from .._state.store import Paths
from .request import Status

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_IN_CREATE = 0x100
_MOST_ATTEMPTS = 5


def check_id(identifier: str) -> None:
    if not _ID.fullmatch(identifier):
        raise InvalidInput(
            f"{identifier!r} cannot be the id of a session.",
            hint="Use letters, digits, '_', '-' and '.', no '-' or '.' first, at most 64 characters.",
        )


class SessionPaths(Paths):
    """Every path of one session, by the same names as those of its container."""

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
    """What we know of a session; one JSON file, replaced as a whole. Without ``pid`` it is about to be launched."""

    id: str
    argv: tuple[str, ...]
    user: str | None
    tty: bool
    detached: bool
    owner: ProcessId | None  # the task: what it waits for ends with it, what it has launched half too
    pid: int | None = None
    process: ProcessId | None = None  # None also for one that ended before it could be looked at
    monitor: ProcessId | None = None
    started: float | None = None  # seconds since 1970
    timed_out: bool = False

    @property
    def abandoned(self) -> bool:
        """Nobody will ever ask for its result."""
        return not (self.detached and self.pid) and not is_alive(self.owner)


class Ended(t.NamedTuple):
    """``code`` None: conmon was killed, or could not write it."""

    code: int | None
    finished: float | None  # seconds since 1970


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
    """Everything of it that is there before its launch. The record comes first: no directory is without one for long."""
    for directory in (paths.bundle, paths.exits, *([paths.persist] if session.detached else [])):
        make_directory(directory)
    save(paths, session)
    write_text(paths.runtime_log, "")  # The runtime would let others read it.


def forget(paths: SessionPaths) -> None:
    for directory in (paths.persist, paths.bundle):
        if os.path.isdir(directory):
            remove_tree(directory)
    for directory in (os.path.dirname(paths.persist), paths.run):
        with contextlib.suppress(OSError):  # others are in it
            os.rmdir(directory)


def all_of(container: Paths) -> list[SessionPaths]:
    """Those of a container, in no order."""
    names = os.listdir(container.exec) if os.path.isdir(container.exec) else []
    return [SessionPaths(container, name[: -len(".session")]) for name in names if name.endswith(".session")]


def ended(paths: SessionPaths, record: Record, session: Session) -> Ended | None:
    """How it ended, None while it runs or conmon still has to write how."""
    path = written((f"{paths.exits}/{record.runtime_id}", f"{paths.persist}/exit"))
    if path is None:
        running = session.pid is None or is_alive(session.process) or is_alive(session.monitor)
        return None if running else Ended(None, None)
    code = int((read_text(path) or "").strip())
    return Ended(code if code >= 0 else None, os.stat(path).st_mtime)


def wait(paths: SessionPaths, record: Record, session: Session, deadline: Deadline | None) -> Ended | None:
    """Until it has ended, None at the deadline (or never without one). conmon ends when it has written the exit code."""
    deadline = deadline or Deadline(float("inf"))
    with Handle(session.process) as process, Handle(session.monitor) as monitor:
        if process.wait(deadline):
            monitor.wait(deadline if process.fd is None else deadline.at_most(EXIT_FILE_SECONDS))
    return ended(paths, record, session)


def stop(paths: SessionPaths, record: Record, session: Session, *, grace: float, kill: float) -> Ended:
    """End it and all that came from it: SIGTERM, and SIGKILL after ``grace`` seconds. Raises DeadlineExceeded."""
    left = end_families([session.process] if session.process else [], grace=grace, kill=kill)
    if left:
        raise DeadlineExceeded(
            f"Process {left[0].pid} of the session {session.id} in the container {record.name} does not die of SIGKILL:"
            f" it is {stuck_in(left[0])}.",
            hint="A process in state D waits for a device or file system; a paused container has to be resumed first.",
        )
    _let_end([session.monitor] if session.monitor else [])
    return ended(paths, record, session) or Ended(None, None)


def clear_away(paths: SessionPaths, record: Record, *, grace: float, kill: float) -> None:
    """Stop a session that was killed or interrupted at any point of its launch or its life, and forget it."""
    session = load(paths)
    known = session is not None and session.pid is not None
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        try:
            process = session.process if session and known else _launched(paths, record)
        except PermissionError:
            return  # It cannot be told yet whose the process is. The next one looks again.
        end_families([process] if process else [], grace=grace, kill=kill)
        _let_end([session.monitor] if session and session.monitor else _conmons(paths, record))
        try:
            forget(paths)
            return
        except EngineError:
            # Somebody writes there, such as a conmon that the killed task was just starting, and that had no command line yet.
            if attempt == _MOST_ATTEMPTS:
                raise


def _launched(paths: SessionPaths, record: Record) -> ProcessId | None:
    """The process of a launch that nobody waits for any more: conmon goes on with it, through two forks, until the runtime
    has written the pid file. What that names has to be in the container. Raises PermissionError where that cannot be seen."""
    deadline = Deadline(EXIT_FILE_SECONDS)
    while not read_text(paths.pidfile) and deadline.remaining():
        # Twice: a conmon that detaches while /proc is read may be missed under both its numbers.
        monitors = _conmons(paths, record) or _conmons(paths, record)
        if not monitors or not os.path.isdir(paths.bundle):
            break
        with Handle(monitors[0]) as monitor:
            if monitor.fd is not None:
                mask, until = IN_MOVED_TO | _IN_CREATE, [monitor.fd]
                wait_until(lambda: bool(read_text(paths.pidfile)), deadline, path=paths.bundle, mask=mask, until=until)
    process = in_pid_file(paths.pidfile)
    # Until the runtime is done, crun hides whom it starts from other users than root: that is not dumpable (proc(5)), and has the
    # command line of the runtime itself.
    for each, argv in with_option(RUNTIME_PIDFILE, paths.pidfile.__eq__) if process else ():
        if each != process and argv[0] == record.runtime.path:
            with Handle(each) as runtime:
                runtime.wait(deadline)
    try:
        namespaces = [os.readlink(f"/proc/{each.pid}/ns/mnt") for each in (process, record.init) if each]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return process if len(namespaces) == 2 and namespaces[0] == namespaces[1] else None


def _conmons(paths: SessionPaths, record: Record) -> list[ProcessId]:
    return find_conmons(record.conmon, paths.pidfile.__eq__)


def _let_end(monitors: list[ProcessId]) -> None:
    """conmon ends when its process has; one that does not (its client has stopped reading) is killed."""
    deadline = Deadline(EXIT_FILE_SECONDS)
    for monitor in monitors:
        with Handle(monitor) as handle:
            if not handle.wait(deadline):
                kill_and_wait([monitor], Deadline(EXIT_FILE_SECONDS))


def family(leader: ProcessId) -> list[ProcessId]:
    """A process, its descendants, and all of its session (setsid(2)), which has its number as long as one of them lives.

    Only a daemon that has left its session, and whose parent has ended, is not found. Reads all of /proc.
    """
    texts = {int(pid): read_text(f"/proc/{pid}/stat") or "" for pid in os.listdir("/proc") if pid.isdigit()}
    # Of proc(5): state, parent, session, start.
    fields = {pid: text.rpartition(")")[2].split() for pid, text in texts.items() if text}
    known = {pid: (each[0], int(each[1]), int(each[3]), int(each[19])) for pid, each in fields.items()}
    if leader.boot != boot_id() or (leader.pid in known and known[leader.pid][3] != leader.start):
        return []
    found = {leader.pid, *(pid for pid, (_state, _parent, session, _start) in known.items() if session == leader.pid)}
    before = 0
    while len(found) > before:
        before = len(found)
        found.update(pid for pid, (_state, parent, _session, _start) in known.items() if parent in found)
    members = (identify(pid) for pid in found if pid in known)
    return [member for member in members if member is not None and member.start == known[member.pid][3]]


def end_families(leaders: t.Collection[ProcessId], *, grace: float, kill: float) -> list[ProcessId]:
    """SIGTERM, then SIGKILL, to processes and all that came from them, each with one deadline for all of them.

    No ``grace`` is SIGKILL at once. Returns those that are left.
    """
    asked = [process for leader in leaders for process in family(leader)] if grace > 0 else []
    left = set(kill_and_wait(asked, Deadline(grace), signal.SIGTERM))
    deadline = Deadline(kill)
    while True:
        # Again, until there is nobody: one that was just about to fork has left a child.
        left.update(process for leader in leaders for process in family(leader))
        if not left:
            return []
        left = set(kill_and_wait(left, deadline))
        if left:
            return list(left)


def signal_of(code: int | None) -> str | None:
    """The name of the signal that an exit code tells of, as a shell and conmon put it: 128 and its number."""
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
