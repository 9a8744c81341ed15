# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""End the exec sessions of a container that is being stopped.

`_exec` stands above the packages that end containers. Of a session, this reads only which process it has.
"""

from __future__ import annotations

import contextlib
import os
import signal

from .._base.deadline import Deadline
from .._base.files import read_json
from .._base.pidfd import kill_and_wait
from .._base.process import ProcessId, identify, is_alive
from .._state.store import Paths


def end_sessions(paths: Paths, grace: float, kill: float) -> None:
    """Send SIGTERM to all exec sessions of a container, then SIGKILL. Processes that have left the process group of a session are
    in the container's cgroup, and end with it."""
    names = os.listdir(paths.exec) if os.path.isdir(paths.exec) else []
    known = [(read_json(f"{paths.exec}/{name}/session.json") or {}).get("process") for name in names]
    leaders = [ProcessId(*process) for process in known if process]
    asked = [process for leader in leaders for process in process_group(leader)]
    kill_and_wait(asked, Deadline(0), signal.SIGTERM)
    kill_and_wait(kill_and_wait(leaders, Deadline(grace), 0), Deadline(kill))


def process_group(leader: ProcessId) -> list[ProcessId]:
    """Return the process group with the number of its leader. Empty if the number belongs to another process now."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        # Ignore unreadable ones: a process of another user has another group, and hidepid hides it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            found += [identify(int(pid))] if os.getpgid(int(pid)) == leader.pid else []
    # A group exists until its last process ends. So all of them belong to the leader if that still lives.
    return [process for process in found if process] if is_alive(leader) else []
