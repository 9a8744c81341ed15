# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop a container with a signal, then with SIGKILL, each with a deadline."""

from __future__ import annotations

import signal
import time
import typing as t

from .._base.deadline import Deadline
from .._base.errors import DeadlineExceeded
from .._base.pidfd import PidFd, kill_and_wait
from .._base.process import signal_name, stuck_in
from .._conmon.exit_files import EXIT_FILE_SECONDS
from .._conmon.exit_wait import collect_exit
from .._conmon.session_processes import end_sessions
from .._host import cgroup, cgroup_removal
from .._state.model import LogDriver, Record, StopReport, Timeouts
from .._state.phase import Phase
from .._state.store import Store

if t.TYPE_CHECKING:
    from .._state.lock import Lock

_LOG_SECONDS = 1.0


def stop(
    store: Store, lock: Lock, record: Record, *, number: int, timeouts: Timeouts
) -> tuple[StopReport, Record | None]:
    """Send the stop signal, then SIGKILL, each with its own deadline. The lock is free while the container ends.

    The record says ``stopping`` during that time, so that the next task completes the work of a killed one. A paused container
    gets the signal before it is thawed, so that it does nothing else first. With ``stop`` 0, it is killed frozen. Its exec
    sessions end first, all at once with the same timeout. Those of a paused container are killed.
    Afterwards nothing is left in its cgroup, even without its own pid namespace, and conmon has written the exit file.
    Return the new record, or None if another task has removed or recreated the container in the meantime. Then change nothing
    more, because the cgroup may belong to the new one. Raises DeadlineExceeded if SIGKILL has no effect.
    """
    began = time.monotonic()
    grace = record.stop_timeout if timeouts.stop is None else timeouts.stop
    record = store.save(record.replace(phase=Phase.STOPPING))
    now: Record | None = record
    with PidFd(record.init) as init:
        ended = init.fd is None
        if not ended and grace > 0:
            lock.release()
            try:
                # On v1, frozen processes end when they are thawed, so do not wait here.
                patience = (0.0, 0.0) if cgroup.is_frozen(record.cgroup_path) else (grace, timeouts.kill)
                end_sessions(store.paths(record.name), *patience)
                init.send(number)
                cgroup_removal.thaw(record.cgroup_path)
                ended = init.wait(Deadline(grace))
            finally:
                lock.acquire(Deadline(timeouts.create))
            now = still_stopping(store, record)
        if now is not None:
            kill_all(record, init, Deadline(timeouts.kill))
            collect_exit(record, store.paths(record.name), Deadline(EXIT_FILE_SECONDS))
            wait_for_log(record)
            now = store.save(now.replace(phase=Phase.STOPPED))
    used = "KILL" if not ended and grace <= 0 else signal_name(number)
    return StopReport(signal=used, killed=not ended, waited=round(time.monotonic() - began, 3)), now


def still_stopping(store: Store, record: Record) -> Record | None:
    """Return the record as it is after the lock was free, with what others have saved. None where the container is another by
    now, or is no longer being stopped: another task has replaced, removed or checkpointed it."""
    now = store.load(record.name)
    same = now is not None and now.created_at == record.created_at
    return now if same and now and now.phase in (Phase.STOPPING, Phase.STOPPED) else None


def wait_for_log(record: Record) -> None:
    """Wait for the writer of the log of an ended container (log_pipe.py), which ends when it has written everything."""
    if record.definition.log_driver is LogDriver.PASSTHROUGH:
        kill_and_wait(cgroup_removal.members(record.conmon_cgroup_path), Deadline(_LOG_SECONDS), 0)


def kill_all(record: Record, init: PidFd, deadline: Deadline) -> None:
    """Send SIGKILL to the first process and to all others in the container's cgroup."""
    init.send(signal.SIGKILL)
    left = cgroup_removal.kill(record.cgroup_path, deadline)
    if not init.wait(deadline) and record.init is not None:
        left = [record.init, *left]
    if left:
        raise DeadlineExceeded(
            f"SIGKILL does not end process {left[0].pid} of the container {record.name}: it is {stuck_in(left[0])}.",
            hint="A process in state D waits for a device or file system. It ends only when that answers.",
        )
