# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identify processes, and know signals by name."""

from __future__ import annotations

import re
import signal
import typing as t

from .errors import InvalidOption
from .files import read_text

# Of the real-time signals, as in moby and podman. The C library may keep some for itself: SIGRTMIN of musl is 35.
_LOWEST, _HIGHEST = 34, 64


class ProcessId(t.NamedTuple):
    """A process, distinct from any later process with the same pid."""

    pid: int
    start: int  # clock ticks after boot, field 22 of /proc/PID/stat
    boot: str  # /proc/sys/kernel/random/boot_id


def boot_id() -> str:
    return (read_text("/proc/sys/kernel/random/boot_id") or "").strip()


def _stat(pid: int) -> tuple[str, int] | None:
    """Return the state letter and the start time of a process, or None if it does not exist.

    The name in parentheses may contain any character, so fields count from the last parenthesis. The state is that of the
    first thread. Z while other threads live (a program may end only its main thread, and a killed program with many threads
    needs time to end) does not mean that the process has ended, so this function returns R instead.
    """
    text = read_text(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text.rpartition(")")[2].split()
    state, threads, start = fields[0], int(fields[17]), int(fields[19])
    return "R" if state == "Z" and threads > 1 else state, start


def identify(pid: int) -> ProcessId | None:
    """Return the process that has this pid now, or None if no process or only a zombie has it."""
    stat = _stat(pid)
    return None if stat is None or stat[0] in "ZX" else ProcessId(pid, stat[1], boot_id())


def in_pid_file(path: str) -> ProcessId | None:
    """Return the process whose pid is in a file, or None if there is no such process, no file, or no pid in it yet."""
    text = (read_text(path) or "").strip()
    return identify(int(text)) if text.isdecimal() else None


def parent_of(pid: int) -> int:
    """Return the pid of the parent, or 0 if the process has ended."""
    fields = (read_text(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0


def is_alive(process: ProcessId | None) -> bool:
    """Tell whether a process runs. A zombie does not, although kill(pid, 0) finds it until its parent waits for it."""
    return process is not None and identify(process.pid) == process


def stuck_in(process: ProcessId) -> str:
    """Describe what a process that does not end is waiting for, as words for an error message."""
    stat = _stat(process.pid)
    where = (read_text(f"/proc/{process.pid}/wchan") or "").strip(" \n0") or "the kernel"
    return f"in state {stat[0]}, waiting in {where}" if stat else "no longer there"


def parse_signal(value: str | int) -> int:
    """Return the number of ``TERM``, ``SIGTERM``, ``15``, ``RTMIN+3`` or ``RTMAX-1``. Raises InvalidOption for anything else."""
    # Letters and digits of other scripts may have ASCII capitals and numbers.
    text = str(value).strip().upper() if str(value).isascii() else ""
    name = text[3:] if text.startswith("SIG") else text
    real_time = re.fullmatch(r"RTMIN(?:\+([0-9]{1,4}))?|(RTMAX)(?:-([0-9]{1,4}))?", name)
    if real_time:
        plus, highest, minus = real_time.groups()
        number = _HIGHEST - int(minus or 0) if highest else _LOWEST + int(plus or 0)
    elif re.fullmatch("[0-9]{1,3}", text):
        number = int(text)
    else:
        # Python has no name for the last one before 3.11.
        number = int(getattr(signal.Signals, f"SIG{name}", 16 if name == "STKFLT" else 0))
    if not (_LOWEST if real_time else 1) <= number <= _HIGHEST:
        import difflib

        near = difflib.get_close_matches(name, [each.name[3:] for each in signal.Signals], n=1)
        hint = f"Did you mean {near[0]}?" if near else "Use a name such as TERM, or a number."
        hint = "Use RTMIN+0 to RTMIN+30, or RTMAX-0 to RTMAX-30." if real_time else hint
        raise InvalidOption(f"{value} is not a signal of this system.", hint=hint)
    return number


def signal_name(number: int) -> str:
    if _LOWEST <= number < _HIGHEST:
        return f"RTMIN+{number - _LOWEST}" if number > _LOWEST else "RTMIN"
    try:
        return signal.Signals(number).name[3:]
    except ValueError:
        return str(number)
