# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for a late report of conmon: its runtime may be slow, or may have been killed.

conmon reads the error output of a failed runtime until the end. A process that the runtime has started has the same pipe. If
the runtime is killed while such a process waits, conmon waits forever and reports nothing (conmon 2.0 to 2.2). So this code
watches the runtime itself. It is the child of conmon whose command line has conmon's option for the pid file.

conmon also reads that output only after the end of the runtime. A runtime with an error of more than 64 KiB, such as the words of a hook,
waits forever to write it. This code reads for conmon then. The reason is in the log of the runtime.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.deadline import Deadline, wait_readable
from .._base.errors import LongshoreError, ProgramFailed, Reason
from .._base.files import read_text, split_lines, without_waiting
from .._base.pidfd import PidFd
from .._base.process import ProcessId, parent_of
from .._host import cgroup
from .._state.conmon_processes import PIDFILE, RUNTIME_PIDFILE, with_option

# conmon reports the end of a runtime within milliseconds. conmon forks the runtime as soon as it may continue.
_GRACE = 3.0
_LOOK_SECONDS = 1.0
_STEP_SECONDS = 0.01
_MOST_IN_PIPE = 1 << 20  # bytes (pipe-max-size in proc(5))


def wait(descriptors: t.Sequence[int], pidfile: str, deadline: Deadline) -> set[int]:
    """Return the readable descriptors, none at the deadline. ``pidfile`` is the value of conmon's --container-pidfile, which
    identifies conmon and the runtime.

    Raises ProgramFailed when the runtime has ended and conmon does not report it.
    """
    ready: set[int] = set()
    while not ready and deadline.remaining():
        monitor, runtime = _look(pidfile)
        with PidFd(runtime) as pidfd:
            if pidfd.fd is not None:
                ready = wait_readable([*descriptors, pidfd.fd], deadline.at_most(_LOOK_SECONDS))
                if not ready and runtime:
                    _make_room(runtime.pid, deadline)
                ready -= {pidfd.fd}
                continue
        ready = wait_readable(descriptors, deadline.at_most(_GRACE))
        # A stopped conmon, or one that has had no time to run, may still report.
        if not ready and monitor and _look(pidfile) == (monitor, None) and _sleeps(monitor.pid):
            # It may have reported between the two checks.
            ready = wait_readable(descriptors, Deadline(0))
            if not ready:
                raise _killed(monitor)
    return ready


def _make_room(pid: int, deadline: Deadline) -> None:
    """Read the error output of a runtime while it waits for room in its pipe. Only then: the process of a command has the same pipe."""
    with contextlib.suppress(OSError, LongshoreError):  # It has ended.
        while _waits_for_room(pid) and deadline.remaining():
            with open(f"/proc/{pid}/fd/2", "rb", buffering=0, opener=without_waiting) as pipe:
                pipe.read(_MOST_IN_PIPE)
            wait_readable((), Deadline(_STEP_SECONDS))


def _waits_for_room(pid: int) -> bool:
    threads = os.listdir(f"/proc/{pid}/task")
    return any("pipe_write" in (read_text(f"/proc/{pid}/task/{each}/wchan") or "") for each in threads)


def _look(pidfile: str) -> tuple[ProcessId | None, ProcessId | None]:
    """Return conmon, and the runtime that it waits for."""
    monitors = {process.pid: process for process, _argv in with_option(PIDFILE, pidfile.__eq__)}
    # Before the exec of the runtime, the child of conmon has the command line of conmon.
    runtimes = {process.pid: process for process, _argv in with_option(RUNTIME_PIDFILE, pidfile.__eq__)}
    children = [
        (process, parent) for process in {**monitors, **runtimes}.values()
        for parent in [monitors.get(parent_of(process.pid))] if parent and _is_beside(process.pid, parent.pid)
    ]  # fmt: skip
    if children:
        return children[0][1], children[0][0]
    return next(iter(monitors.values()), None), None


def _is_beside(pid: int, monitor: int) -> bool:
    """Tell whether a process is in the session of conmon, as the runtime is. The first process of a container has its own
    session. It may have the command line of the runtime, and becomes a child of conmon when the runtime ends."""
    try:
        return os.getsid(pid) == os.getsid(monitor)
    except ProcessLookupError:
        return False


def _sleeps(pid: int) -> bool:
    return (read_text(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()[:1] == ["S"]


def _killed(monitor: ProcessId) -> ProgramFailed:
    counted = sum(_killed_by_kernel(cgroup.path_of(monitor.pid)))
    reason = "the kernel has killed a process there because memory ran out" if counted else "did memory run out?"
    return ProgramFailed(
        f"conmon has not reported, because the runtime that it has started was killed ({reason})",
        reason=Reason.UNREPORTED,
        hint="If memory ran out, the log of the kernel lists the killed processes: journalctl --dmesg --grep oom-kill",
    )


def _killed_by_kernel(path: str | None) -> t.Iterator[int]:
    """Yield the numbers of processes in a cgroup that the kernel killed because memory ran out."""
    for directory in cgroup.directories(path):
        for name in ("memory.events", "memory.oom_control"):
            fields = [line.split() for line in split_lines(read_text(f"{directory}/{name}") or "")]
            yield from (int(each[1]) for each in fields if len(each) == 2 and each[0] == "oom_kill")
