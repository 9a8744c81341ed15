# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""conmon as the monitor of one exec session: its command line, its attach socket, and the meaning of its errors.

The socket (conn_sock.c, ctr_stdio.c) is SEQPACKET. Each packet from conmon begins with the number of its stream, and each
packet to conmon is input. conmon blocks when it writes, so a client that sends must also continue to read.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket

from .._base.deadline import Deadline
from .._base.errors import InvalidOption, ProgramFailed, Reason, reason_of
from .._conmon import conmon, conmon_launch
from .._state.model import Record
from .output import KEEP, Keep, Output, outputs
from .session_store import SessionPaths

_STDERR = 3  # config.h
_PACKET = 32768  # the size of conmon's reads (CONN_SOCK_BUF_SIZE); the rest of a longer packet would be lost
_AT_ONCE = 256  # packets before other work
_END_OF_INPUT = b"\x04"  # Ctrl-D


def exec_argv(record: Record, paths: SessionPaths, *, terminal: bool, stdin: bool, attach: bool) -> list[str]:
    """Return the command line of conmon for a session. One argument is the directory of all sessions of the container, by which
    leftovers can be found. Raises InvalidOption for a log that conmon cannot write."""
    if not attach and ":" in paths.log:  # as for a container, but earlier releases have created containers there
        raise InvalidOption(f"A session cannot write to {paths.log}: conmon splits the path of a log at a colon.")
    argv = [
        *conmon.common_argv(record, paths, uuid=paths.id, log="none" if attach else f"k8s-file:{paths.log}"),
        "--conmon-pidfile", paths.conmon_pidfile, "--socket-dir-path", paths.run,
        # Log only errors: a warning for each packet that a program does not read would fill the journal.
        "--log-level", "error",
        "--exec", "--exec-process-spec", paths.spec,
    ]  # fmt: skip
    if attach:
        # This task gets the exit code. A second copy on disk is for sessions without a waiting task. The last option counts.
        argv += ["--exec-attach", "--exit-dir", paths.exits, "--persist-dir", paths.bundle]
    if terminal:
        argv.append("--terminal")
    elif stdin:
        argv.append("--stdin")
    return argv


class Streams:
    """A client of one session, as a context manager."""

    def __init__(self, stdin: bytes | None, *, terminal: bool, keep: Keep = KEEP) -> None:
        if stdin is not None and terminal:
            # A terminal has no end of file. One such character at the start of a line means it, elsewhere two.
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
        """Connect to the socket ``attach`` in a directory, whose path may exceed the limit for sockets (107 bytes)."""
        self.out, self.err = self._files.enter_context(outputs(self._keep))
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._socket.connect(f"/proc/self/fd/{descriptor}/attach")
        except OSError as exc:
            raise ProgramFailed(f"cannot attach to conmon: {reason_of(exc)}", reason=Reason.UNREPORTED) from exc
        finally:
            os.close(descriptor)
        self._socket.setblocking(False)

    def copy(self, sync: conmon_launch.Pipe, deadline: Deadline | None) -> bool:
        """Copy input and output until the output has ended and conmon has reported on ``sync`` or has ended.

        Return False after the deadline. The caller may then call it again.
        """
        while not (self._ended and sync.complete()):
            # Check the deadline here too, because there may always be data to copy.
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
        """Receive the available data. The kernel reports a peer that ended without reading its input before the data it sent."""
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
            pass  # The program or conmon has ended, so the rest of the input is useless.
        self._input = None

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()
        self._files.close()
