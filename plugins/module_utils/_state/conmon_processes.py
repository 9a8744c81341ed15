# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the conmons of interrupted launches that are in no record.

A path in a command line proves nothing, because a shell, an editor or a process of another user may have it too. Only the
recorded program, run by this user, with the path as the value of the expected option may be ended.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.deadline import Deadline
from .._base.errors import LongshoreError
from .._base.files import read_text, split_lines
from .._base.pidfd import PidFd
from .._base.process import ProcessId, identify
from .model import Program

# The options of conmon and of the runtime for the file with the pid of the started process.
PIDFILE, RUNTIME_PIDFILE = "--container-pidfile", "--pid-file"
_WRAPPED_SECONDS = 0.5


def find_conmons(conmon: Program, accept: t.Callable[[str], bool]) -> list[ProcessId]:
    """Return the conmons of this user whose ``--container-pidfile`` is accepted. Read all of /proc, for recovery only."""
    candidates = list(with_option(PIDFILE, accept))
    found = [process for process, _argv in candidates if runs(process.pid, conmon.path)]
    wrapped = [process for process, argv in candidates if process not in found and conmon.path in argv[1:]]
    deadline = Deadline(_WRAPPED_SECONDS)
    for process in wrapped:
        # A program that prepares the launch (userns.py, fd_mapping.py) may become conmon in a moment.
        with PidFd(process) as pidfd:
            pidfd.wait(deadline)
            found += [process] if runs(process.pid, conmon.path) and identify(process.pid) == process else []
    return found


def find_runtimes(runtime: Program, option: str, value: str) -> list[ProcessId]:
    """Return the runtimes of this user with this value of an option. A runtime may be a script of an interpreter, which becomes
    the real runtime. Read all of /proc."""

    def is_one(pid: int, argv: list[str]) -> bool:
        return runtime.path in argv or os.path.basename(argv[0]) == runtime.name or runs(pid, runtime.path)

    return [process for process, argv in with_option(option, value.__eq__) if is_one(process.pid, argv)]


def with_option(option: str, accept: t.Callable[[str], bool]) -> t.Iterator[tuple[ProcessId, list[str]]]:
    """Yield processes of this user, with their command lines, that have an option with an accepted value. This does not prove
    which program they are."""
    for entry in filter(_is_ours, filter(str.isdigit, os.listdir("/proc"))):
        argv = _text(entry, "cmdline").split("\0")
        if any(word == option and accept(value) for word, value in zip(argv, argv[1:])):
            process = identify(int(entry))
            if process is not None:
                yield process, argv


def _is_ours(pid: str) -> bool:
    """Tell whether a process acts as this user (/proc/PID belongs to root for processes that are not dumpable, proc(5)), and is
    in no pid namespace of a container: such a process may have an endless command line, or one that blocks readers."""
    lines = {line.partition(":")[0]: line.split()[1:] for line in split_lines(_text(pid, "status"))}
    return set(lines.get("Uid", ())) == {str(os.geteuid())} and len(lines.get("NSpid", ())) <= 1


def _text(pid: str, name: str) -> str:
    """Return the text, or an empty string if it cannot be read, as with hidepid for processes of other users (proc(5))."""
    with contextlib.suppress(LongshoreError):
        return read_text(f"/proc/{pid}/{name}") or ""
    return ""


def runs(pid: int, path: str) -> bool:
    """Tell whether a process runs exactly this program, also if an upgrade has replaced the file since."""
    link = f"/proc/{pid}/exe"
    with contextlib.suppress(OSError):
        if os.readlink(link) == f"{os.path.realpath(path)} (deleted)":
            return True
        return os.path.samestat(os.stat(link), os.stat(path))
    return False
