# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for the exit code of a container that has just ended, which conmon writes."""

from __future__ import annotations

import os

from .._base.deadline import Deadline
from .._base.files import read_text
from .._base.inotify import IN_MOVED_TO, wait_until
from .._base.pidfd import PidFd
from .._base.process import boot_id
from .._state.model import Exit, Record
from .._state.store import Paths
from .._state.timestamps import timestamp
from .exit_files import paths_of, written
from .memory_mark import memory_ran_out


def collect_exit(record: Record, paths: Paths, deadline: Deadline) -> Exit:
    """Return how a container ended whose first process is gone.

    conmon renames a file into place in the run directory, then one in the state directory. Its own end ends the wait. The code -1
    is conmon's for a container that ran into its time limit.
    """
    files = paths_of(record, paths)
    with PidFd(record.monitor) as monitor:
        # conmon ends right after it has written, unless it has a command to run then. Its end is cheaper to wait for:
        # closing an inotify descriptor takes the kernel some 10 ms.
        if written(files) is None and not monitor.wait(deadline.at_most(0.05)) and os.path.isdir(paths.exits):
            gone = [] if monitor.fd is None else [monitor.fd]
            wait_until(lambda: written(files) is not None, deadline, path=paths.exits, mask=IN_MOVED_TO, until=gone)
        monitored = monitor.fd is not None and not monitor.wait(Deadline(0))
    oom = memory_ran_out(paths)
    path = written(files)
    if path is None:
        if record.boot != boot_id():
            return Exit(None, "host-rebooted", None, oom)
        return Exit(None, "no-exit-file" if monitored else "monitor-lost", None, oom)
    code = int((read_text(path) or "").strip())
    finished = timestamp(os.stat(path).st_mtime)
    reason = "monitor-timeout" if code < 0 else "killed" if 128 < code <= 192 else "exited"
    return Exit(code if code >= 0 else None, reason, finished, oom)
