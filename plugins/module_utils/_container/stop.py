# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop a container: ask with a signal, then kill, each with a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import typing as t

from .._base.deadline import Deadline
from .._base.errors import DeadlineExceeded
from .._base.files import read_json
from .._base.process import Handle, ProcessId, identify, is_alive, kill_and_wait, signal_name, stuck_in
from .._host import cgroup
from .._state.model import Record, StopReport, Timeouts
from .._state.store import Paths, Store
from .observe import EXIT_FILE_SECONDS, collect_exit

if t.TYPE_CHECKING:
    from .._base.lock import Lock


def stop(
    store: Store, lock: Lock, record: Record, *, number: int, timeouts: Timeouts
) -> tuple[StopReport, Record | None]:
    """Ask with a signal, then kill, each with its own deadline; the lock is free while the container takes its time.

    The record says ``stopping`` meanwhile, so that whoever comes next finishes what a killed run has begun. A paused
    container gets the signal before it may go on, so it does nothing else first; one with ``stop`` 0 is killed frozen.
    Its exec sessions are ended first, with the same grace, all at once; those of a paused one are killed.
    Afterwards nothing is left in its cgroup, also without a pid namespace of its own, and conmon has written the exit.
    Returns the record as it is then, or None when somebody else has removed or remade the container meanwhile: then
    nothing more is touched, since its cgroup may be that of the next one. Raises DeadlineExceeded where SIGKILL does not help.
    """
    began = time.monotonic()
    grace = record.stop_timeout if timeouts.stop is None else timeouts.stop
    record = store.save(record.replace(phase="stopping"))
    now: Record | None = record
    with Handle(record.init) as init:
        ended = init.fd is None
        if not ended and grace > 0:
            lock.release()
            try:
                # On v1 what is frozen dies when it is thawed, so that is not waited for here.
                patience = (0.0, 0.0) if cgroup.is_frozen(record.cgroup_path) else (grace, timeouts.kill)
                end_sessions(store.paths(record.name), *patience)
                init.send(number)
                cgroup.thaw(record.cgroup_path)
                ended = init.wait(Deadline(grace))
            finally:
                lock.acquire(Deadline(timeouts.create))
            now = store.load(record.name)
        if now is not None and (now.created_at != record.created_at or now.phase == "removed"):
            now = None
        if now is not None:
            kill_all(record, init, Deadline(timeouts.kill))
            collect_exit(record, store.paths(record.name), Deadline(EXIT_FILE_SECONDS))
            now = store.save(now.replace(phase="stopped"))
    used = "KILL" if not ended and grace <= 0 else signal_name(number)
    return StopReport(signal=used, killed=not ended, waited=round(time.monotonic() - began, 3)), now


def end_sessions(paths: Paths, grace: float, kill: float) -> None:
    """SIGTERM to all exec sessions of a container, then SIGKILL. What of theirs has left its process group (which has the
    number of its leader) is in the container's cgroup, and ends with that."""
    names = os.listdir(paths.exec) if os.path.isdir(paths.exec) else []
    known = [(read_json(f"{paths.exec}/{name}/session.json") or {}).get("process") for name in names]
    leaders = [ProcessId(*process) for process in known if process]
    asked = [process for leader in leaders for process in process_group(leader)]
    kill_and_wait(asked, Deadline(0), signal.SIGTERM)
    kill_and_wait(kill_and_wait(leaders, Deadline(grace), 0), Deadline(kill))


def process_group(leader: ProcessId) -> list[ProcessId]:
    """The process group with the number of its leader. Empty where that is another's by now."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        # Not read: another user's process has another group, and with hidepid cannot be looked at.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            found += [identify(int(pid))] if os.getpgid(int(pid)) == leader.pid else []
    # A group ends with its last process. So all that was seen is of the leader if that lives on.
    return [process for process in found if process] if is_alive(leader) else []


def kill_all(record: Record, init: Handle, deadline: Deadline) -> None:
    """SIGKILL the first process and everything that is left in the container's cgroup."""
    init.send(signal.SIGKILL)
    left = cgroup.kill(record.cgroup_path, deadline)
    if not init.wait(deadline) and record.init is not None:
        left = [record.init, *left]
    if left:
        raise DeadlineExceeded(
            f"Process {left[0].pid} of the container {record.name} does not die of SIGKILL: it is {stuck_in(left[0])}.",
            hint="A process in state D waits for a device or file system. It ends only when that answers.",
        )
