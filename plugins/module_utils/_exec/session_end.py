# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""End exec sessions: wait for one, stop it with all its descendants, and clear an interrupted one away."""

from __future__ import annotations

import os
import signal
import typing as t

from .._base.deadline import Deadline
from .._base.errors import DeadlineExceeded, LongshoreError
from .._base.files import read_text
from .._base.inotify import IN_MOVED_TO, wait_until
from .._base.pidfd import PidFd, kill_and_wait
from .._base.process import ProcessId, boot_id, identify, in_pid_file, stuck_in
from .._conmon.exit_files import EXIT_FILE_SECONDS
from .._state.conmon_processes import RUNTIME_PIDFILE, find_conmons, with_option
from .._state.model import Record
from .session_store import Ended, Session, SessionPaths, ended, forget, load

_IN_CREATE = 0x100
_MOST_ATTEMPTS = 5


def wait(paths: SessionPaths, record: Record, session: Session, deadline: Deadline | None) -> Ended | None:
    """Wait until a session has ended. Return None at the deadline. conmon ends after it has written the exit code."""
    deadline = deadline or Deadline(float("inf"))
    with PidFd(session.process) as process, PidFd(session.monitor) as monitor:
        if process.wait(deadline):
            monitor.wait(deadline if process.fd is None else deadline.at_most(EXIT_FILE_SECONDS))
    return ended(paths, record, session)


def stop(paths: SessionPaths, record: Record, session: Session, *, grace: float, kill: float) -> Ended:
    """End a session and its descendants: SIGTERM, and SIGKILL after ``grace`` seconds. Raises DeadlineExceeded."""
    left = end_families([session.process] if session.process else [], grace=grace, kill=kill)
    if left:
        raise DeadlineExceeded(
            f"SIGKILL does not end process {left[0].pid} of the session {session.id} in the container {record.name}:"
            f" it is {stuck_in(left[0])}.",
            hint="A process in state D waits for a device or file system. Resume a paused container first.",
        )
    _let_end([session.monitor] if session.monitor else [])
    return ended(paths, record, session) or Ended(None, None)


def clear_away(paths: SessionPaths, record: Record, *, grace: float, kill: float) -> None:
    """Stop and remove a session that was interrupted at any point."""
    session = load(paths)
    known = session is not None and session.pid is not None
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        try:
            process = session.process if session and known else _launched(paths, record)
        except PermissionError:
            return  # The owner of the process cannot be determined yet. The next task tries again.
        end_families([process] if process else [], grace=grace, kill=kill)
        _let_end([session.monitor] if session and session.monitor else _conmons(paths, record))
        try:
            forget(paths)
            return
        except LongshoreError:
            # Another process writes there, such as a conmon that the killed task was starting, and that had no command line yet.
            if attempt == _MOST_ATTEMPTS:
                raise


def _launched(paths: SessionPaths, record: Record) -> ProcessId | None:
    """Return the process of an abandoned launch: conmon continues it, through two forks, until the runtime has written the pid
    file. Its process must be in the container. Raises PermissionError if that cannot be verified."""
    deadline = Deadline(EXIT_FILE_SECONDS)
    while not read_text(paths.pidfile) and deadline.remaining():
        # Twice: the search may miss a conmon that detaches while /proc is read.
        monitors = _conmons(paths, record) or _conmons(paths, record)
        if not monitors or not os.path.isdir(paths.bundle):
            break
        with PidFd(monitors[0]) as monitor:
            if monitor.fd is not None:
                mask, until = IN_MOVED_TO | _IN_CREATE, [monitor.fd]
                wait_until(lambda: bool(read_text(paths.pidfile)), deadline, path=paths.bundle, mask=mask, until=until)
    process = in_pid_file(paths.pidfile)
    # Until the runtime is done, only root can see the process that crun starts: it is not dumpable (proc(5)), and has the
    # command line of the runtime.
    for each, argv in with_option(RUNTIME_PIDFILE, paths.pidfile.__eq__) if process else ():
        if each != process and argv[0] == record.runtime.path:
            with PidFd(each) as runtime:
                runtime.wait(deadline)
    try:
        namespaces = [os.readlink(f"/proc/{each.pid}/ns/mnt") for each in (process, record.init) if each]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return process if len(namespaces) == 2 and namespaces[0] == namespaces[1] else None


def _conmons(paths: SessionPaths, record: Record) -> list[ProcessId]:
    return find_conmons(record.conmon, paths.pidfile.__eq__)


def _let_end(monitors: list[ProcessId]) -> None:
    """Wait for conmon, which ends after its process. Kill one that does not, because its client has stopped reading."""
    deadline = Deadline(EXIT_FILE_SECONDS)
    for monitor in monitors:
        with PidFd(monitor) as pidfd:
            if not pidfd.wait(deadline):
                kill_and_wait([monitor], Deadline(EXIT_FILE_SECONDS))


def family(leader: ProcessId) -> list[ProcessId]:
    """Return a process, its descendants, and its session (setsid(2)), which keeps its number as long as a member lives.

    Only a daemon that has left its session, and whose parent has ended, is missing. Read all of /proc.
    """
    texts = {int(pid): read_text(f"/proc/{pid}/stat") or "" for pid in os.listdir("/proc") if pid.isdecimal()}
    # From proc(5): state, parent, session, start.
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
    """Send SIGTERM, then SIGKILL, to processes and their descendants, each with one deadline for all.

    Without ``grace``, send SIGKILL at once. Return the processes that still run.
    """
    asked = [process for leader in leaders for process in family(leader)] if grace > 0 else []
    left = set(kill_and_wait(asked, Deadline(grace), signal.SIGTERM))
    deadline = Deadline(kill)
    while True:
        # Repeat until none is left, because a process may have forked at the last moment.
        left.update(process for leader in leaders for process in family(leader))
        if not left:
            return []
        left = set(kill_and_wait(left, deadline))
        if left:
            return list(left)
