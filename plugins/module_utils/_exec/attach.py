# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""conmon as the monitor of one exec session: its command line, its attach socket, and what its failures mean.

The socket (conn_sock.c, ctr_stdio.c): SEQPACKET; each packet to us begins with the number of its stream, and each from us
is input. conmon writes to it and waits, so whoever sends must go on reading.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import typing as t

from .._base.deadline import Deadline
from .._base.errors import EngineError, ProgramFailed, reason_of
from .._base.files import read_tail
from .._host import conmon, conmon_launch
from .._runtime.runtime import last_error
from .._state.model import Record
from .output import KEEP, Keep, Output, outputs
from .process_spec import Command
from .session_store import SessionPaths

_STDERR = 3  # config.h
_PACKET = 32768  # what conmon reads at once (CONN_SOCK_BUF_SIZE); more of a packet would be lost
_LONGEST = 8192  # bytes of an error that is looked for
_AT_ONCE = 256  # packets, before anything else gets its turn
_END_OF_INPUT = b"\x04"  # Ctrl-D


# What runc 1.0 to 1.3 and crun 1.8 to 1.28 say of a program that is not there, or cannot be run.
_NOT_FOUND = re.compile(r'executable file .*not found|exec(: "| `?/).*no such file', re.IGNORECASE)
_NOT_EXECUTABLE = re.compile(
    r"permission denied|exec format error|is a directory|not a directory|operation not permitted", re.IGNORECASE
)
_DIRECTORY = re.compile(r"\b(cwd|chdir|working directory)\b", re.IGNORECASE)


def exec_argv(record: Record, paths: SessionPaths, *, terminal: bool, stdin: bool, attach: bool) -> list[str]:
    """The command line of conmon for a session. The directory of all sessions of the container is in it as a word, by
    which what is left of them can be found."""
    argv = [
        *conmon.common_argv(record, paths, uuid=paths.id, log="none" if attach else f"k8s-file:{paths.log}"),
        "--conmon-pidfile", paths.conmon_pidfile, "--socket-dir-path", paths.run,
        # Only errors: a warning for each packet that a program does not read would fill the journal.
        "--log-level", "error",
        "--exec", "--exec-process-spec", paths.spec,
    ]  # fmt: skip
    if attach:
        # Its exit code comes to us; a second copy on a disk is for those that nobody waits for. The last one counts.
        argv += ["--exec-attach", "--persist-dir", paths.bundle]
    if terminal:
        argv.append("--terminal")
    elif stdin:
        argv.append("--stdin")
    return argv


class Streams:
    """A client of one session, as a context manager."""

    def __init__(self, stdin: bytes | None, *, terminal: bool, keep: Keep = KEEP) -> None:
        if stdin is not None and terminal:
            # A terminal has no end of file; at the start of a line this character is one, elsewhere two are.
            stdin += _END_OF_INPUT if stdin.endswith(b"\n") or not stdin else 2 * _END_OF_INPUT
        self._terminal = terminal
        self._input: memoryview | None = None if stdin is None else memoryview(stdin)
        self._ended = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._keep, self._files = keep, contextlib.ExitStack()
        self.out, self.err = Output(0), Output(0)

    @property
    def stdout(self) -> bytes:
        return bytes(self.out.kept)

    @property
    def stderr(self) -> bytes:
        return bytes(self.err.kept)

    def connect(self, directory: str) -> None:
        """To the socket ``attach`` in a directory, whose path may be longer than that of a socket may be (107 bytes)."""
        self.out, self.err = self._files.enter_context(outputs(self._keep))
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._socket.connect(f"/proc/self/fd/{descriptor}/attach")
        except OSError as exc:
            raise ProgramFailed(f"conmon cannot be attached to: {reason_of(exc)}") from exc
        finally:
            os.close(descriptor)
        self._socket.setblocking(False)

    def copy(self, sync: conmon_launch.Pipe, deadline: Deadline | None) -> bool:
        """Both ways at once, until the output has ended and conmon has reported on ``sync``, or is gone.

        False when the deadline passed first; it can be called again then.
        """
        while not (self._ended and sync.complete()):
            # Asked here too, for there may always be something to copy.
            if deadline is not None and not deadline.remaining():
                return False
            poller = select.poll()
            if not sync.complete():
                poller.register(sync.socket.fileno(), select.POLLIN)
            if not self._ended:
                poller.register(self._socket.fileno(), select.POLLIN | (0 if self._input is None else select.POLLOUT))
            ready = poller.poll(None if deadline is None else deadline.milliseconds())
            if not ready:
                return False
            for descriptor, event in ready:
                if descriptor == sync.socket.fileno():
                    sync.receive()
                    continue
                if event & ~select.POLLOUT:
                    self._receive()
                if event & select.POLLOUT:
                    self._send()
        return True

    def _receive(self) -> None:
        """What is there. A peer that went without having read its input is reported before what it has sent."""
        for _packet in range(_AT_ONCE):
            try:
                packet = self._socket.recv(65536)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue
            if not packet:
                self._ended = True
                return
            (self.err if packet[0] == _STDERR else self.out).take(memoryview(packet)[1:])

    def _send(self) -> None:
        try:
            while self._input:
                self._input = self._input[self._socket.send(self._input[:_PACKET]) :]
            if self._input is not None and not self._terminal:
                self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            pass  # The program has ended, or conmon has: what it has not read nobody will.
        self._input = None

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()
        self._files.close()


def failed_late(argv: t.Sequence[str], rc: int | None, streams: Streams) -> ProgramFailed | None:
    """runc (1.1) calls a program started whose interpreter is missing, or that is of another machine. It says why as if
    it were the program, and exits with 1."""
    quiet = rc == 1 and not streams.out.kept
    said = re.fullmatch(rb"(exec (\S+): [^\n]+)\n", bytes(streams.err.kept[:_LONGEST])) if quiet else None
    return (
        ProgramFailed(said[1].decode("utf-8", "replace")) if said and said[2].endswith(os.fsencode(argv[0])) else None
    )


def explain(exc: EngineError, record: Record, paths: SessionPaths, command: Command) -> EngineError:
    """The runtime's own last error says most, then conmon's message, then what conmon wrote before it detached."""
    log = "\n".join(read_tail(paths.runtime_log))
    written = read_tail(paths.conmon_log)
    reasons = (last_error(log), exc.message, " ".join(written[-3:]), "the runtime died without a word")
    reason = next(text for text in reasons if text).rstrip(".")
    details: dict[str, t.Any] = {
        "runtime_log": log.splitlines()[-20:],
        "conmon_log": written,
        "cmd": list(command.argv),
    }
    what = f"{command.argv[0]} in the container {record.name}"
    if not _DIRECTORY.search(reason):
        for code, words, pattern in ((127, "found", _NOT_FOUND), (126, "executed", _NOT_EXECUTABLE)):
            if pattern.search(reason):
                return ProgramFailed(
                    f"Cannot run {what}: it cannot be {words} ({reason}).", rc=code, stdout="", stderr="", **details
                )
    return type(exc)(f"Cannot run {what}: {reason}.", hint=exc.hint, **details)
