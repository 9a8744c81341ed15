# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch conmon: start it, wait for its reports on pipes, and read the pid of what it has started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import typing as t

from .._base.deadline import Deadline, wait_readable
from .._base.errors import DeadlineExceeded, ProgramFailed, reason_of
from .._base.files import read_text
from .._base.process import identify, parent_of
from .._base.program import spawn

_PROMPT = 1.5  # seconds for a launch that nothing holds up; it takes a tenth of that


class Pipe:
    """A pipe between conmon and us. Two reports may come in one message, and one in several."""

    def __init__(self) -> None:
        # SEQPACKET as podman has it: one read is one message, and a peer that dies is an end of file at once.
        self.socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._buffer, self._ended = b"", False
        self.pidfile = ""

    def go_on(self) -> None:
        """conmon waits for this before it forks, and in an exec with a client once more before it runs the runtime."""
        try:
            self.socket.send(b"\0")
        except OSError:
            raise ProgramFailed("conmon ended before it could be told to go on") from None

    def receive(self) -> None:
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self.socket.recv(65536)
        self._buffer += data
        self._ended = not data

    def wait(self, deadline: Deadline, *others: int) -> set[int]:
        """Wait for conmon, or for one of the other descriptors; empty when the deadline passed first. With ``pidfile``, which
        is that of what is launched, raises ProgramFailed when the runtime is gone and conmon does not notice."""
        descriptors = [self.socket.fileno(), *others]
        ready = wait_readable(descriptors, deadline.at_most(_PROMPT) if self.pidfile else deadline)
        if not ready and self.pidfile:
            from . import lost_runtime

            ready = lost_runtime.wait(descriptors, self.pidfile, deadline)
        return ready

    def complete(self) -> bool:
        """Whether there is a report, or will be none."""
        return self._ended or b"\n" in self._buffer

    def report(self, deadline: Deadline) -> tuple[int, str]:
        """The next number of conmon's, with a message perhaps. -1 where it ended without, as up to 2.1.13 for a runtime
        that failed silently, and in 2.2.0 and 2.2.1 for any failed exec. Raises ProgramFailed, DeadlineExceeded."""
        while not self.complete():
            if not self.wait(deadline):
                raise DeadlineExceeded("conmon and the runtime did not report in time")
            self.receive()
        text, _newline, self._buffer = self._buffer.partition(b"\n")
        line = text.decode("utf-8", "replace")
        if not line:
            return -1, ""
        try:
            report = json.loads(line)
            # Older API levels call it pid.
            return int(report["data"] if "data" in report else report["pid"]), str(report.get("message") or "").strip()
        except (ValueError, KeyError, TypeError):
            raise ProgramFailed(f"conmon reported {line!r}, which is not understood") from None


@contextlib.contextmanager
def launch(
    argv: t.Sequence[str], *, directory: str, output: str, environment: t.Mapping[str, str],
    place: t.Callable[[int], None], birthplace: str | None = None, names: t.Sequence[str] = ("SYNC", "START"),
    preserve: t.Sequence[int] = (),
) -> t.Iterator[dict[str, Pipe]]:  # fmt: skip
    """Start conmon and put it where it belongs; gives the pipes to it. It waits to be told on START to go on, and meanwhile
    gets ready by itself; SYNC has its reports.

    It is born in the cgroup whose directory ``birthplace`` is where that can be; else ``place`` is called with its pid,
    before conmon may fork, so all that it starts is in its cgroup. ``output`` is the file for what conmon says before it
    detaches (and, with the log driver passthrough, for the container). ``preserve`` are descriptors that it gets too. An
    exception, here (ProgramFailed) or of the caller, kills a conmon that has not detached; what another has started is
    the caller's to sweep.
    """
    pipes = {name: Pipe() for name in names}
    with contextlib.ExitStack() as stack:
        for pipe in pipes.values():
            stack.enter_context(pipe.socket)
            stack.enter_context(pipe.theirs)
        pipes["SYNC"].pidfile = dict(zip(argv, argv[1:])).get("--container-pidfile", "")
        named = {f"_OCI_{name}PIPE": str(pipe.theirs.fileno()) for name, pipe in pipes.items()}
        try:
            with open(output, "ab", opener=private) as stream:
                pid, placed = spawn(
                    argv, directory=directory, environment={**environment, **named}, output=stream.fileno(),
                    inherited=[*preserve, *map(int, named.values())], cgroup=birthplace,
                )  # fmt: skip
        except (OSError, ValueError) as exc:  # ValueError: a NUL in an argument
            raise ProgramFailed(f"conmon cannot be run ({argv[0]}): {reason_of(exc)}") from exc
        for pipe in pipes.values():
            pipe.theirs.close()
        try:
            if not placed:
                place(pid)
            yield pipes
        except BaseException as exc:
            detached = identify(pid) is None
            # Closing the start pipe is a go-ahead too (read() returns 0): to stop conmon one has to kill it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if isinstance(exc, DeadlineExceeded) and not detached:
                message = f"{exc.message.rstrip('.')}, and conmon has not even detached"
                raise DeadlineExceeded(message, hint=exc.hint, **exc.details) from exc
            raise
        finally:
            # The first process ends as soon as it has forked; it is dead or dying by now. A caller may ignore SIGCHLD.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def read_pid(sync: Pipe, deadline: Deadline) -> int:
    """The pid of what the runtime has started. conmon's first process exiting says nothing; its report says it all."""
    number, message = sync.report(deadline)
    if number <= 0:
        raise ProgramFailed(message)
    return number


def pid_of_monitor(path: str, child: int) -> int:
    """From conmon's pid file, 0 for none. Others may write there, so it has to be the parent of what it has started."""
    written = (read_text(path) or "").strip()
    return int(written) if written.isdecimal() and parent_of(child) in (0, int(written)) else 0


def private(path: str, flags: int) -> int:
    """For open(opener=): a file that nobody else can read, however it is opened."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
