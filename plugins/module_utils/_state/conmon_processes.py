# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the conmons of launches that were interrupted: those that no record tells of.

A path in a command line proves nothing: a shell, an editor or another user's process may have it there too. Only the
recorded program, run by this user, with our path as the value of its very option is ours to end.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.deadline import Deadline
from .._base.errors import EngineError
from .._base.files import read_text
from .._base.process import Handle, ProcessId, identify
from .model import Program

# Of conmon, and of the runtime that it calls: where the pid of what it starts is written.
PIDFILE, RUNTIME_PIDFILE = "--container-pidfile", "--pid-file"
_WRAPPED_SECONDS = 0.5


def find_conmons(conmon: Program, accept: t.Callable[[str], bool]) -> list[ProcessId]:
    """The conmons of this user whose ``--container-pidfile`` is accepted. Reads all of /proc: for recovery only."""
    candidates = list(with_option(PIDFILE, accept))
    found = [process for process, _argv in candidates if runs(process.pid, conmon.path)]
    wrapped = [process for process, argv in candidates if process not in found and conmon.path in argv[1:]]
    deadline = Deadline(_WRAPPED_SECONDS)
    for process in wrapped:
        # A program that prepares something (userns.py, descriptors.py) may become conmon in a moment.
        with Handle(process) as handle:
            handle.wait(deadline)
            found += [process] if runs(process.pid, conmon.path) and identify(process.pid) == process else []
    return found


def find_runtimes(runtime: Program, option: str, value: str) -> list[ProcessId]:
    """The runtimes of this user that are known by the value of an option. A runtime may be a script, which its interpreter
    runs. Reads all of /proc, as above."""
    found = with_option(option, value.__eq__)
    return [process for process, argv in found if runtime.path in argv or runs(process.pid, runtime.path)]


def with_option(option: str, accept: t.Callable[[str], bool]) -> t.Iterator[tuple[ProcessId, list[str]]]:
    """Processes of this user, and their command lines, with an option in them whose value is accepted. That is no proof of
    what they are."""
    for entry in filter(_is_ours, filter(str.isdigit, os.listdir("/proc"))):
        argv = _text(entry, "cmdline").split("\0")
        if any(word == option and accept(value) for word, value in zip(argv, argv[1:])):
            process = identify(int(entry))
            if process is not None:
                yield process, argv


def _is_ours(pid: str) -> bool:
    """Whether it acts as this user (the owner of /proc/PID is root for what is not dumpable, proc(5)) and is in no container, as far
    as that has a pid namespace: such a process may have a command line without end, or one that is never read to its end."""
    lines = {line.partition(":")[0]: line.split()[1:] for line in _text(pid, "status").splitlines()}
    return set(lines.get("Uid", ())) == {str(os.geteuid())} and len(lines.get("NSpid", ())) <= 1


def _text(pid: str, name: str) -> str:
    """Empty for what cannot be read: with hidepid, other users' processes are only names (proc(5))."""
    with contextlib.suppress(EngineError):
        return read_text(f"/proc/{pid}/{name}") or ""
    return ""


def runs(pid: int, path: str) -> bool:
    """Whether a process runs just this program, also where an upgrade has replaced the file since."""
    link = f"/proc/{pid}/exe"
    with contextlib.suppress(OSError):
        if os.readlink(link) == f"{os.path.realpath(path)} (deleted)":
            return True
        return os.path.samestat(os.stat(link), os.stat(path))
    return False
