# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container is whose task is in the middle of a checkpoint or restore, or was killed there."""

from __future__ import annotations

import os
import typing as t

from .._base.process import in_pid_file
from .._host import cgroup
from .._state import names
from .._state.model import Exit, Observed, Record, Status
from .._state.store import Paths
from .._state.unfinished import has_ended


def look(record: Record, paths: Paths, ended: t.Callable[[], Exit], live: t.Callable[[Record], Status]) -> Observed:
    """Of a container whose first process is not the one of the record any more, or not yet. ``ended`` says how it has ended, ``live``
    what it is while it lives."""
    on_disk = Observed(record.name, Status.CHECKPOINTED, record, leftovers=True)
    if record.phase == "checkpointing":
        # CRIU ends the container, and says afterwards that all went well.
        path = record.checkpoint.path if record.checkpoint else ""
        end = None if has_ended(path) else ended()
        if end is None or has_ended(path):
            return on_disk
        return Observed(record.name, Status.STOPPED, record, exit=end)
    # conmon goes on with a restore whose task is killed, and then the container runs, whatever the record says.
    now = restored(record, paths)
    if now is not None:
        return Observed(now.name, live(now), now, monitored=True)
    end = ended()
    if os.path.exists(paths.pidfile) and end.finished_at is not None:
        return Observed(record.name, Status.STOPPED, record, exit=end)
    return on_disk


def restored(record: Record, paths: Paths) -> Record | None:
    """The record of a container that was restored while the task was killed: with the processes that are in the pid files, and where
    they are. None where it does not run, or has no conmon."""
    init, monitor = in_pid_file(paths.pidfile), in_pid_file(record.definition.conmon_pidfile or paths.conmon_pidfile)
    if init is None or monitor is None:
        return None
    path, systemd = cgroup.path_of(init.pid), record.cgroup_manager == "systemd"
    own = names.container_unit(record.name, record.realm) if systemd else names.container_cgroup(record)
    if f"{own}/" not in f"{path}/":
        return None
    return record.replace(
        init=init, monitor=monitor, cgroup_path=path, conmon_cgroup_path=cgroup.path_of(monitor.pid)
    )  # fmt: skip
