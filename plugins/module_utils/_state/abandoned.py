# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task was doing when it was killed, as far as it may go on: its programs.

The kernel kills a program with its task (process.tie). There is an instant after the start of a program in which that is not
arranged yet, and in which a task can be killed as in any other. So the next task looks once more.
"""

from __future__ import annotations

from .._base.deadline import Deadline
from .._base.errors import EngineError
from .._base.process import kill_and_wait, parent_of
from .conmon_processes import find_runtimes, runs
from .model import Record

_SECONDS = 5.0


def end_programs(record: Record | None, log: str) -> None:
    """End the runtime of a task that was killed while it had the lock of a container. One that belongs to a conmon goes with that.
    ``log`` is the runtime's, which is no other container's.

    Reads all of /proc. Raises EngineError where one does not die.
    """
    if record is None:
        return
    found = [
        process for process in find_runtimes(record.runtime, "--log", log)
        if not runs(parent_of(process.pid), record.conmon.path)
    ]  # fmt: skip
    left = kill_and_wait(found, Deadline(_SECONDS))
    if left:
        raise EngineError(
            f"Process {left[0].pid}, which a task that was killed has started, does not die of SIGKILL.",
            hint="A process in state D waits for a device or file system; nothing but that can end it.",
        )
