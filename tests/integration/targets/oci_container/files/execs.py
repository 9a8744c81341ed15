# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program and write down the name of every program that it and its children execute, as the kernel tells.

Arguments: the file to write to, the program, its arguments. What strace does, for hosts that have none. Each child is let
go as soon as it has executed something: conmon outlives the task, and cannot be followed to its end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# ptrace(2)
TRACEME, CONT, DETACH, SETOPTIONS = 0, 7, 17, 0x4200
TRACE_FORK, TRACE_VFORK, TRACE_CLONE, TRACE_EXEC = 0x2, 0x4, 0x8, 0x10
EVENT_EXEC = 4
WALL = 0x40000000

_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def ptrace(request: int, pid: int, data: int = 0) -> None:
    if _ptrace(request, pid, None, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


def start(argv: list[str]) -> int:
    pid = os.fork()
    if pid == 0:
        ptrace(TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execv(argv[0], argv)
    os.waitpid(pid, WALL)
    ptrace(SETOPTIONS, pid, TRACE_FORK | TRACE_VFORK | TRACE_CLONE | TRACE_EXEC)
    ptrace(CONT, pid)
    return pid


def main() -> None:
    output, *argv = sys.argv[1:]
    seen: set[int] = set()
    with open(output, "w", encoding="utf-8") as stream:
        first = start(argv)
        while True:
            pid, status = os.waitpid(-1, WALL)
            if not os.WIFSTOPPED(status):
                if pid == first:
                    break
                continue
            number, event = os.WSTOPSIG(status), status >> 16
            if event == EVENT_EXEC:
                # Of a script it is the script's own name, and not that of its shell.
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
                    stream.write(comm.read())
            # The stop of an event is nobody's signal, and neither is the first stop of a new child.
            news = event != 0 or (number == signal.SIGSTOP and pid not in seen)
            seen.add(pid)
            ptrace(DETACH if event == EVENT_EXEC and pid != first else CONT, pid, 0 if news else number)
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
