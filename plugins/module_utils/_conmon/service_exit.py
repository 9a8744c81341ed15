# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for the processes or the exit code of a service, which systemd starts again without a task."""

from __future__ import annotations

import os

from .._base.deadline import Deadline, wait_readable
from .._base.process import is_alive
from .._base.program import user_runtime_directory
from .._host.service_processes import with_service_processes
from .._state import names
from .._state.model import Record
from .._state.phase import Phase
from .._state.store import Paths
from .exit_files import EXIT_FILE_SECONDS, exit_file


def is_active(record: Record) -> bool:
    """Tell whether systemd starts, runs or stops the unit, or waits to restart it. systemd exports the invocation of each such unit
    for journald (unit_export_invocation_id)."""
    directory = "/run" if os.geteuid() == 0 else user_runtime_directory()
    return os.path.lexists(f"{directory}/systemd/units/invocation:{names.service_unit(record.name, record.realm)}")


def launched(record: Record, paths: Paths) -> tuple[Record, bool]:
    """Return the record of a service without a process, perhaps with those of a later start, and whether systemd is to launch it."""
    if record.phase in (Phase.CREATED, Phase.STARTING):  # systemd has not launched it yet, or failed to.
        return record, not exit_file(record, paths)
    return _settled(record, paths) if record.phase is Phase.RUNNING else (record, False)


def _settled(record: Record, paths: Paths) -> tuple[Record, bool]:
    """Wait at most five seconds until a service without a process has one or an exit code, or systemd has ended with it. Return
    its record, and whether systemd still works on it. One without a pid file is in its start, which may take long."""
    deadline = Deadline(EXIT_FILE_SECONDS)
    while True:
        active = is_active(record)  # Before the exit file, which conmon writes before it ends.
        record = with_service_processes(record, paths)
        if not active or is_alive(record.init) or exit_file(record, paths):
            return record, False
        if not (os.path.exists(paths.pidfile) and deadline.remaining()):
            return record, True
        # The script of the unit replaces the directories that could be watched.
        wait_readable((), deadline.at_most(0.02))
