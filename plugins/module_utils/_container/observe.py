# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe the current state of a container, from files alone. Only a runtime without a driver is started for that.

It merges four sources: the record, the state directory of the runtime (the files that ``runc state`` and ``crun state`` read; a
runtime without a driver is asked by its command ``state``), the exit file of conmon, and the recorded processes.
"""

from __future__ import annotations

import os

from .._base.deadline import Deadline
from .._base.process import is_alive
from .._host import cgroup
from .._host.service_processes import is_unready, unit_of, with_service_processes
from .._runtime.drivers import driver_of
from .._state.model import Exit, NetworkHelper, Observed, Record, Status
from .._state.phase import Phase
from .._state.store import Store, link


def observe(store: Store, name: str) -> Observed:
    """Return the state. Wait at most five seconds for conmon to write the exit code of a container that has just ended."""
    record, paths = store.load(name), store.paths(name)
    elsewhere = record and os.path.dirname(record.runtime_root) != store.run_dir
    if elsewhere or (link(paths.owner) != paths.state and os.path.lexists(paths.run)):
        from .._state.run_directory import check_run

        check_run(store, name, record)
    seen = _observe(store, name, record)
    if (record is not None and record.checkpoint) or os.path.isdir(f"{paths.state}/checkpoints"):
        from .._state.unfinished import is_unfinished

        seen = seen._replace(unfinished=is_unfinished(paths, record))
    return seen


def _observe(store: Store, name: str, record: Record | None) -> Observed:
    paths = store.paths(name)
    if record is None:
        from .._host.leftover_paths import leftovers

        return Observed(name, Status.ABSENT, leftovers=bool(leftovers(store, name)))
    if record.phase is Phase.CREATING:
        return Observed(name, Status.ABSENT, record, leftovers=True)
    if record.phase is Phase.REMOVED:
        return Observed(name, Status.STOPPED, record, exit=record.last_exit)
    record = with_service_processes(record, paths)
    if unit_of(record) and not is_alive(record.init):
        from .._conmon.service_exit import launched

        record, starts = launched(record, paths)
        if starts:
            return Observed(name, Status.CREATED, record)
    if record.phase is Phase.CHECKPOINTED:
        return Observed(name, Status.CHECKPOINTED, record)

    def ended() -> Exit:
        from .._conmon.exit_files import EXIT_FILE_SECONDS
        from .._conmon.exit_wait import collect_exit

        return collect_exit(record, paths, Deadline(EXIT_FILE_SECONDS))

    if is_alive(record.init):
        status, problem = _live(record)
        disconnected = record.definition.network_helper is not NetworkHelper.NONE and not is_alive(record.helper)
        seen = Observed(name, status, record, is_alive(record.monitor), disconnected=disconnected, problem=problem)
        seen = seen._replace(unready=is_unready(record))
        if seen.status is Status.PAUSED:
            from .frozen import look as look_at_frozen

            return look_at_frozen(seen)
        if status is Status.STOPPED:
            # It has ended for its runtime, and its first process is still there.
            return Observed(name, status, record, exit=ended(), leftovers=is_alive(record.init))
        return seen
    if record.phase in (Phase.CHECKPOINTING, Phase.RESTORING):
        from .interrupted import look

        return look(record, paths, ended, _live)
    return Observed(name, Status.STOPPED, record, exit=ended(), leftovers=_has_processes(record))


def _has_processes(record: Record) -> bool:
    """Tell whether an ended container has other processes. Only the first process of a pid namespace takes all others with it."""
    if not cgroup.directories(record.cgroup_path):
        return False
    from .._host.cgroup_removal import members

    return bool(members(record.cgroup_path))


def live_status(record: Record) -> Status:
    """Return the status of a container whose first process lives."""
    return _live(record)[0]


def _live(record: Record) -> tuple[Status, str]:
    """Return the status, and why it is UNKNOWN."""
    created = driver_of(record.runtime.name).created_file
    if created is None:
        from .._host import asked

        return asked.status(record)
    if os.path.exists(f"{record.runtime_root}/{record.runtime_id}/{created}"):
        return Status.CREATED, ""
    return Status.PAUSED if cgroup.is_frozen(record.cgroup_path) else Status.RUNNING, ""
