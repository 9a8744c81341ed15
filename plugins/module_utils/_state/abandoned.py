# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""End the programs of a killed task that still run.

The kernel kills a program together with its task (program.tie). This takes effect shortly after the start of the program,
and the task may be killed before. So the next task looks for such programs.
"""

from __future__ import annotations

from .._base.deadline import Deadline
from .._base.errors import LongshoreError
from .._base.pidfd import kill_and_wait
from .._base.process import parent_of
from .conmon_processes import find_runtimes, runs
from .model import Record

_SECONDS = 5.0


def end_programs(record: Record | None, log: str) -> None:
    """End the runtime of a task that was killed while it held the lock of a container. A runtime of conmon ends with conmon.
    ``log`` is the log of the runtime, which is unique to the container.

    Read all of /proc. Raises LongshoreError if a process does not end.
    """
    if record is None:
        return
    found = [
        process for process in find_runtimes(record.runtime, "--log", log)
        if not runs(parent_of(process.pid), record.conmon.path)
    ]  # fmt: skip
    left = kill_and_wait(found, Deadline(_SECONDS))
    if left:
        hint = "A process in state D waits for a device or file system. It ends only when that answers."
        raise LongshoreError(f"SIGKILL does not end process {left[0].pid}, which a killed task has started.", hint=hint)
