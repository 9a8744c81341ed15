# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Runs one program to its end and keeps its output."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, TypeVar

# Nothing takes this long, also where five parts share two cores: a test that hangs has to fail before the user stops the whole run.
TIMEOUT = 3600.0
POLL_INTERVAL = 0.05

_T = TypeVar("_T")
_U = TypeVar("_U")
_giving_up = threading.Event()


def side_by_side(function: Callable[[_T], _U], arguments: Sequence[_T]) -> list[_U]:
    """The function for each of them, in threads. An interruption ends what they run, and they run nothing more.

    An error in one of them is raised after all others have run to their end: it must not hide what these find.
    """
    with ThreadPoolExecutor(len(arguments)) as pool:
        # Not map: it would cancel what has not begun yet when an error comes.
        futures = [pool.submit(function, argument) for argument in arguments]
        try:
            return [future.result() for future in futures]
        except (KeyboardInterrupt, SystemExit):
            _giving_up.set()
            raise


@dataclasses.dataclass(frozen=True)
class Outcome:
    status: int
    output: str
    seconds: float


def run(
    argv: Sequence[str],
    *,
    cwd: str,
    env: dict[str, str],
    on_line: Callable[[str], None] | None = None,
    timeout: float = TIMEOUT,
    clearing: bool = False,
) -> Outcome:
    """Runs argv with stderr in stdout. on_line gets every line as soon as it is written.

    A program that is ``clearing`` up is run to its end even when everything has been interrupted.
    """
    started = time.monotonic()
    giving_up = threading.Event() if clearing else _giving_up
    if giving_up.is_set():
        raise SystemExit(143)
    # A file and not a pipe: a container that a test leaves running keeps its end of a pipe open, and reading the pipe
    # to its end would then never return. In append mode it does not matter what is read while others write.
    with tempfile.TemporaryFile("a+b") as output:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        reader = _LineReader(output.fileno(), on_line)
        note = ""
        try:
            if not _wait(process, started + timeout, reader, giving_up):
                note = "\ninterrupted\n" if giving_up.is_set() else f"\nended after {timeout:.0f} s\n"
        finally:
            _end(process)
        reader.read()
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
        return Outcome(process.returncode, text + note, time.monotonic() - started)


class _LineReader:
    """Follows a file that another process writes to."""

    def __init__(self, fd: int, on_line: Callable[[str], None] | None) -> None:
        self._fd = fd
        self._on_line = on_line
        self._offset = 0
        self._rest = b""

    def read(self) -> None:
        if not self._on_line:
            return
        while chunk := os.pread(self._fd, 65536, self._offset):
            self._offset += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._on_line(line.decode("utf-8", "replace"))


def _wait(process: subprocess.Popen[bytes], deadline: float, reader: _LineReader, giving_up: threading.Event) -> bool:
    while process.poll() is None:
        if time.monotonic() > deadline or giving_up.is_set():
            return False
        reader.read()
        time.sleep(POLL_INTERVAL)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that still runs, with its children."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
