# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readiness as in sd_notify(3): receive it from the container, and pass it on to the service manager of this task."""

from __future__ import annotations

import os
import socket
import typing as t

from .._base.deadline import Deadline, wait_readable
from .._base.errors import DeadlineExceeded, ProgramFailed
from .._base.files import read_tail, remove_file, split_lines
from .._base.pidfd import PidFd
from .._state.model import Record, Timeouts
from .._state.phase import Phase
from .._state.store import Store


def ready_seconds(timeouts: Timeouts) -> float:
    """Return the maximum time in seconds until a container is ready."""
    return timeouts.create if timeouts.ready is None else timeouts.ready


class ReadySocket:
    """The socket to which conmon sends, as a context manager. It exists only during the wait."""

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
        """Wait for READY=1. Raises ProgramFailed if the container ends first, DeadlineExceeded at the deadline."""
        with PidFd(record.init) as init:
            ended = init.fd is None
            while True:
                watched = [self._socket.fileno()] + ([] if init.fd is None else [init.fd])
                ready = wait_readable(watched, Deadline(0) if ended else deadline)
                if self._socket.fileno() in ready:
                    if self._is_ready(self._socket.recv(65536)):
                        return
                elif ended or not ready:
                    break
                ended = ended or init.fd in ready  # earlier messages still have to be read
        kind, text = (ProgramFailed, "ended before it said") if ended else (DeadlineExceeded, "did not say in time")
        last = f" Its last status was: {self._status}." if self._status else ""
        log = read_tail(record.log_path) if record.log_path else []
        raise kind(f"The container {record.name} {text} that it is ready (READY=1).{last}", container_log=log)

    def _is_ready(self, message: bytes) -> bool:
        lines = split_lines(message.decode("utf-8", "replace"))
        self._status = next((line[7:] for line in lines if line.startswith("STATUS=")), self._status)
        return "READY=1" in lines


def start_and_tell(
    store: Store, record: Record, timeouts: Timeouts, start: t.Callable[[Phase], Record]
) -> tuple[Record, list[str]]:
    """Start a container, wait until it is ready where it says so, and tell our own service manager. Returns record and warnings.

    ``start`` saves the phase that it is called with, then starts the container.
    """
    if record.definition.sdnotify == "container":
        with ReadySocket(store.paths(record.name).ready_socket) as ready:
            record = start(Phase.STARTING)
            ready.wait(record, Deadline(ready_seconds(timeouts)))
        record = store.save(record.replace(phase=Phase.RUNNING))
    else:
        record = start(Phase.RUNNING)
    return record, list(filter(None, [tell_manager(record)]))


def tell_manager(record: Record) -> str:
    """If this process has a service manager that waits for it (NOTIFY_SOCKET), report readiness and conmon as the main process.
    Return a warning or an empty string."""
    if record.definition.sdnotify == "ignore" or not os.environ.get("NOTIFY_SOCKET") or record.monitor is None:
        return ""
    try:
        from systemd import daemon
    except ImportError:
        return "The service manager (NOTIFY_SOCKET) was not notified, because python3-systemd is missing."
    daemon.notify(f"MAINPID={record.monitor.pid}\nREADY=1")
    return ""
