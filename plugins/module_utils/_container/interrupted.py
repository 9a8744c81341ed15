# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe a container during a checkpoint or restore, or after its task was killed there."""

from __future__ import annotations

import os
import typing as t

from .._base.process import in_pid_file
from .._host import cgroup
from .._state import names
from .._state.model import CgroupManager, Exit, Observed, Record, Status
from .._state.phase import Phase
from .._state.store import Paths
from .._state.unfinished import has_ended


def look(
    record: Record, paths: Paths, ended: t.Callable[[], Exit], live: t.Callable[[Record], tuple[Status, str]]
) -> Observed:
    """Return the state of a container whose first process is not (or not any more) the recorded one. ``ended`` returns how it has
    ended, ``live`` its status while it lives, and why it is UNKNOWN."""
    on_disk = Observed(record.name, Status.CHECKPOINTED, record, leftovers=True)
    if record.phase is Phase.CHECKPOINTING:
        # CRIU ends the container, and says afterwards that all went well.
        path = record.checkpoint.path if record.checkpoint else ""
        end = None if has_ended(path) else ended()
        if end is None or has_ended(path):
            return on_disk
        return Observed(record.name, Status.STOPPED, record, exit=end)
    # conmon completes a restore whose task is killed. The container then runs, but the record does not say so.
    now = restored(record, paths)
    if now is not None:
        status, problem = live(now)
        return Observed(now.name, status, now, monitored=True, problem=problem)
    end = ended()
    if os.path.exists(paths.pidfile) and end.finished_at is not None:
        return Observed(record.name, Status.STOPPED, record, exit=end)
    return on_disk


def restored(record: Record, paths: Paths) -> Record | None:
    """Return the record of a container whose restore was completed after its task was killed, with the processes in the pid files
    and their cgroups. None if it does not run, or has no conmon."""
    init, monitor = in_pid_file(paths.pidfile), in_pid_file(record.definition.conmon_pidfile or paths.conmon_pidfile)
    if init is None or monitor is None:
        return None
    path, systemd = cgroup.path_of(init.pid), record.cgroup_manager is CgroupManager.SYSTEMD
    own = names.container_unit(record.name, record.realm) if systemd else names.container_cgroup(record)
    if f"{own}/" not in f"{path}/":
        return None
    return record.replace(
        init=init, monitor=monitor, cgroup_path=path, conmon_cgroup_path=cgroup.path_of(monitor.pid)
    )  # fmt: skip
