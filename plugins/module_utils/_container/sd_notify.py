# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readiness, in the words of sd_notify(3): heard from the container, and told to whoever started us."""

from __future__ import annotations

import os
import socket

from .._base.deadline import Deadline, wait_readable
from .._base.errors import DeadlineExceeded, ProgramFailed
from .._base.files import read_tail, remove_file
from .._base.process import Handle
from .._state.model import Record, Timeouts


def ready_seconds(timeouts: Timeouts) -> float:
    """How long a container may take to say that it is ready."""
    return timeouts.create if timeouts.ready is None else timeouts.ready


class ReadySocket:
    """The socket that conmon sends to, as a context manager; it is there only while somebody waits."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._status = ""

    def __enter__(self) -> ReadySocket:
        remove_file(self._path)
        self._socket.bind(self._path)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()
        remove_file(self._path)

    def wait(self, record: Record, deadline: Deadline) -> None:
        """Until READY=1. Raises ProgramFailed when the container ends first, DeadlineExceeded when it stays silent."""
        with Handle(record.init) as init:
            ended = init.fd is None
            while True:
                watched = [self._socket.fileno()] + ([] if init.fd is None else [init.fd])
                ready = wait_readable(watched, Deadline(0) if ended else deadline)
                if self._socket.fileno() in ready:
                    if self._is_ready(self._socket.recv(65536)):
                        return
                elif ended or not ready:
                    break
                ended = ended or init.fd in ready  # what it said before is still to be read
        kind, text = (ProgramFailed, "ended before it said") if ended else (DeadlineExceeded, "did not say in time")
        last = f" Its last status was: {self._status}." if self._status else ""
        log = read_tail(record.log_path) if record.log_path else []
        raise kind(f"The container {record.name} {text} that it is ready (READY=1).{last}", container_log=log)

    def _is_ready(self, message: bytes) -> bool:
        lines = message.decode("utf-8", "replace").splitlines()
        self._status = next((line[7:] for line in lines if line.startswith("STATUS=")), self._status)
        return "READY=1" in lines


def tell_manager(record: Record) -> str:
    """Where this process has a service manager that wants to know (NOTIFY_SOCKET), tell it that conmon is the main process
    and all is ready. Returns a warning, or nothing."""
    if record.definition.sdnotify == "ignore" or not os.environ.get("NOTIFY_SOCKET") or record.monitor is None:
        return ""
    try:
        from systemd import daemon
    except ImportError:
        return "There is a NOTIFY_SOCKET, and nobody was told of the container: python3-systemd is missing."
    daemon.notify(f"MAINPID={record.monitor.pid}\nREADY=1")
    return ""
