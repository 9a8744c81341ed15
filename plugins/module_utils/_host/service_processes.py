# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the processes of services: what observing needs to know of systemd as an owner, from files alone."""

from __future__ import annotations

import os

from .._base.process import in_pid_file, parent_of
from .._state import names
from .._state.model import Record
from .._state.phase import Phase
from .._state.store import Paths
from .._state.timestamps import timestamp
from . import cgroup

_KEPT = (Phase.STARTING, Phase.STOPPING)
_NOT_LAUNCHED = (Phase.CREATING, Phase.REMOVED, Phase.CHECKPOINTED)


def with_service_processes(record: Record, paths: Paths) -> Record:
    """Return the record; that of a service with the processes of its latest start, which was systemd's doing and not ours.

    Their numbers are in the pid files of conmon. A process is the container's when it is in its scope.
    """
    launched = record.definition.service and record.phase not in _NOT_LAUNCHED
    init = in_pid_file(paths.pidfile) if launched else None
    path = cgroup.path_of(init.pid) if init else None
    if init is None or init == record.init or f"/{names.container_unit(record.name, record.realm)}/" not in f"{path}/":
        return record
    monitor = in_pid_file(record.definition.conmon_pidfile or paths.conmon_pidfile)
    if monitor and parent_of(init.pid) != monitor.pid:
        monitor = None  # It was killed, and the number may be another's.
    conmon_path = cgroup.path_of(monitor.pid) if monitor else None
    helper = in_pid_file(paths.network_pidfile)
    return record.replace(
        phase=record.phase if record.phase in _KEPT else Phase.RUNNING, boot=init.boot, init=init, monitor=monitor,
        pidfile_before=None, cgroup_path=path, conmon_cgroup_path=conmon_path, started_at=timestamp(os.stat(paths.pidfile).st_mtime),
        last_exit=None, helper=helper if helper and cgroup.path_of(helper.pid) == conmon_path else None,
    )  # fmt: skip


def is_unready(record: Record) -> bool:
    """Return whether only a task waited for the readiness of a container. systemd waits for that of a service."""
    return record.phase is Phase.STARTING and not record.definition.service


def unit_of(record: Record) -> str | None:
    """Return the unit of systemd that runs the container."""
    return names.service_unit(record.name, record.realm) if record.definition.service else None
