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
from .._base.errors import DeadlineExceeded, ProgramFailed, Reason, reason_of
from .._base.files import read_text
from .._base.process import identify, parent_of
from .._base.program import UMASK, spawn

_ROOM = 8192  # bytes: at least one page, which is the least that a file takes
_PROMPT = 1.5  # seconds for a launch without delays, which takes a tenth of that


class Pipe:
    """A pipe between conmon and this task. A message may contain two reports, or only a part of one."""

    def __init__(self) -> None:
        # SEQPACKET as in podman: one read is one message, and the end of the peer is an end of file at once.
        self.socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._buffer, self._ended = b"", False
        self.pidfile = ""

    def go_on(self) -> None:
        """Let conmon continue. It waits for this before it forks, and in an exec with a client again before it runs the runtime."""
        try:
            self.socket.send(b"\0")
        except OSError:
            raise ProgramFailed("conmon ended before it was told to continue", reason=Reason.UNREPORTED) from None

    def receive(self) -> None:
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self.socket.recv(65536)
        self._buffer += data
        self._ended = not data

    def wait(self, deadline: Deadline, *others: int) -> set[int]:
        """Wait for conmon, or for one of the other descriptors. Return the readable ones, none after the deadline. With the
        ``pidfile`` of the launch, raises ProgramFailed when the runtime has ended and conmon does not notice it."""
        descriptors = [self.socket.fileno(), *others]
        ready = wait_readable(descriptors, deadline.at_most(_PROMPT) if self.pidfile else deadline)
        if not ready and self.pidfile:
            from . import lost_runtime

            ready = lost_runtime.wait(descriptors, self.pidfile, deadline)
        return ready

    def complete(self) -> bool:
        """Tell whether a report has arrived, or conmon has closed the pipe."""
        return self._ended or b"\n" in self._buffer

    def report(self, deadline: Deadline) -> tuple[int, str]:
        """Return the next number of conmon, and its message or an empty string. -1 if conmon ended without a report, as up to
        2.1.13 for a runtime that failed silently, and in 2.2.0 and 2.2.1 for any failed exec. Raises ProgramFailed,
        DeadlineExceeded."""
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
            # Older API levels use the key pid.
            return int(report["data"] if "data" in report else report["pid"]), str(report.get("message") or "").strip()
        except (ValueError, KeyError, TypeError):
            message = f"conmon reported {line!r}, which is not understood"
            raise ProgramFailed(message, reason=Reason.UNREPORTED) from None


@contextlib.contextmanager
def launch(
    argv: t.Sequence[str], *, directory: str, output: str, environment: t.Mapping[str, str],
    place: t.Callable[[int], None], spawn_directory: str | None = None, names: t.Sequence[str] = ("SYNC", "START"),
    preserve: t.Sequence[int] = (), umask: int = UMASK,
) -> t.Iterator[dict[str, Pipe]]:  # fmt: skip
    """Start conmon in its cgroup, and yield the pipes to it. conmon prepares itself and waits for a message on START. SYNC
    receives its reports.

    If possible, conmon starts in the cgroup with the directory ``spawn_directory``. Otherwise ``place`` is called with its pid
    before conmon may fork, so all its children are in its cgroup. ``output`` is the file for the output of conmon before
    it detaches (and, with the log driver passthrough, of the container). conmon also inherits the descriptors
    ``preserve``. The ``umask`` is also that of the runtime: it creates missing mount points, and runc passes its umask to a
    command. An exception, here (ProgramFailed) or of the caller, kills a conmon that has not detached. If conmon
    has detached, the caller must clean up.
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
                    inherited=[*preserve, *map(int, named.values())], cgroup=spawn_directory, umask=umask,
                )  # fmt: skip
        except (OSError, ValueError) as exc:  # ValueError: a NUL in an argument
            raise ProgramFailed(f"Cannot run conmon ({argv[0]}): {reason_of(exc)}", reason=Reason.UNREPORTED) from exc
        for pipe in pipes.values():
            pipe.theirs.close()
        try:
            if not placed:
                place(pid)
            yield pipes
        except BaseException as exc:
            detached = identify(pid) is None
            # A closed start pipe also lets conmon continue (read() returns 0), so only a kill stops it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if isinstance(exc, DeadlineExceeded) and not detached:
                message = f"{exc.message.rstrip('.')}, and conmon has not even detached"
                raise DeadlineExceeded(message, hint=exc.hint, **exc.details) from exc
            raise
        finally:
            # The first process ends right after the fork, so it has ended or is about to. A caller may ignore SIGCHLD.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


@contextlib.contextmanager
def room_for_exit(directory: str) -> t.Iterator[list[int]]:
    """Yield a descriptor for conmon, or none, of a file without a name that takes up room in a file system.

    conmon closes the descriptors that it was started with before it writes the exit code (since 2.0.24). That frees the room, so a file
    system that is full meanwhile does not cost the exit code.
    """
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:  # Some file systems have no such files.
        yield []
        return
    try:
        with contextlib.suppress(OSError):
            os.posix_fallocate(descriptor, 0, _ROOM)
        yield [descriptor]
    finally:
        os.close(descriptor)


def read_pid(sync: Pipe, deadline: Deadline) -> int:
    """Return the pid of the process that the runtime has started, from conmon's report. The end of conmon's first process
    means nothing."""
    number, message = sync.report(deadline)
    if number <= 0:
        raise ProgramFailed(message)
    return number


def pid_of_monitor(path: str, child: int) -> int:
    """Return the pid in conmon's pid file, or 0. Verify that it is the parent of ``child``, because other users may be able to
    write to the file."""
    written = (read_text(path) or "").strip()
    return int(written) if written.isdecimal() and parent_of(child) in (0, int(written)) else 0


def private(path: str, flags: int) -> int:
    """Open a file, for open(opener=), that no other user can read."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
