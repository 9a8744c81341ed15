# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Programs that a worker starts, and all that comes of them.

A worker adopts the orphans of its programs (PR_SET_CHILD_SUBREAPER), so that whatever a killed task leaves behind is known as a
descendant. One thread reaps, as init would.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import signal
import threading
import time
import typing as t

_PR_SET_CHILD_SUBREAPER = 36
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True)
class Process:
    """One process, as /proc has it."""

    pid: int
    parent: int
    started: int
    state: str
    name: str
    command: str


@dataclasses.dataclass(frozen=True)
class Ended:
    """A program that has ended. ``status`` is negative for a signal, None for one that was ended for taking too long."""

    status: int | None
    output: str
    errors: str
    seconds: float


def read(path: str) -> str:
    """The text of a file; empty where there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def process(pid: int) -> Process | None:
    text = read(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text.rpartition(")")[2].split()
    command = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    name = text[text.index("(") + 1 : text.rindex(")")]
    return Process(pid, int(fields[1]), int(fields[19]), fields[0], name, command)


def children(pid: int) -> set[int]:
    """Those that a process has started itself, by any of its threads."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found.update(map(int, read(f"/proc/{pid}/task/{thread}/children").split()))
    return found


def descendants(top: int) -> list[Process]:
    """All processes below this one, zombies left out."""
    found, open_ends = [], [top]
    while open_ends:
        below = children(open_ends.pop())
        open_ends += below
        found += [each for each in map(process, below) if each and each.state not in "ZX"]
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


class Program:
    """One that was started and may still run."""

    def __init__(self, programs: Programs, pid: int, out: str, err: str) -> None:
        self.pid = pid
        self.started = time.monotonic()
        self.ended_after = 0.0
        self._programs = programs
        self._files = (out, err)

    def status(self, seconds: float) -> int | None:
        """How it has ended, None where it still runs after so many seconds."""
        return self._programs.wait(self, seconds)

    def result(self) -> Ended:
        """Its output so far, and how it has ended if it has."""
        output, errors = map(read, self._files)
        status = self.status(0)
        return Ended(status, output, errors, self.ended_after or time.monotonic() - self.started)

    def forget(self) -> None:
        for path in self._files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


class Programs:
    """Starts programs and reaps all that ends."""

    def __init__(self, directory: str, python_path: str) -> None:
        self._directory = directory
        self._number = 0
        self._ended: dict[int, tuple[int, float]] = {}
        self._change = threading.Condition()
        self._spawned = threading.Event()
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ANSIBLE"))
        }
        self.environment.update(PYTHONPATH=python_path, LC_ALL="C.UTF-8")
        self.environment["PATH"] = f"{self.environment.get('PATH', '')}:{_PATH}".strip(":")
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        threading.Thread(target=self._reap, daemon=True).start()

    def start(self, argv: t.Sequence[str]) -> Program:
        """Start a program in a session of its own, its output in files."""
        self._number += 1
        out, err = (f"{self._directory}/{self._number}.{kind}" for kind in ("out", "err"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, out, flags, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, err, flags, 0o600),
        ]
        pid = os.posix_spawnp(
            argv[0],
            list(argv),
            self.environment,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
        )
        program = Program(self, pid, out, err)
        self._spawned.set()
        return program

    def run(self, argv: t.Sequence[str], seconds: float = 30) -> Ended:
        """Run a small program to its end, or kill it."""
        program = self.start(argv)
        if program.status(seconds) is None:
            kill(program.pid)
        result = program.result()
        program.forget()
        return result

    def wait(self, program: Program, seconds: float) -> int | None:
        with self._change:
            self._change.wait_for(lambda: program.pid in self._ended, seconds)
            found = self._ended.get(program.pid)
        if found is None:
            return None
        status, when = found
        program.ended_after = when - program.started
        return os.waitstatus_to_exitcode(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                self._spawned.wait()
                self._spawned.clear()
                continue
            with self._change:
                self._ended[pid] = (status, time.monotonic())
                self._change.notify_all()
