# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the output of a command in a container: a limited part in memory, and all of it in files on request."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from .._base.errors import InvalidOption, LongshoreError, reason_of
from .._base.files import without_waiting

# A character may become six in the result of a module ("\u0000"), which is in memory several times.
DEFAULT_LIMIT = 2 << 20
_MOST_IN_LINE = 1 << 16  # conmon writes at most 8 KiB of data in a line


class Keep(t.NamedTuple):
    """``limit``: bytes of each stream to keep in memory. The paths are of files on the host for the complete streams."""

    limit: int = DEFAULT_LIMIT
    stdout_path: str | None = None
    stderr_path: str | None = None


KEEP = Keep()


class Output:
    """One stream. ``kept`` is its beginning, and ``truncated`` is true if there was more."""

    def __init__(self, limit: int, file: t.BinaryIO | None = None) -> None:
        self.kept = bytearray()
        self.truncated = False
        self._limit, self._file = limit, file

    def take(self, data: bytes | memoryview) -> None:
        room = self._limit - len(self.kept)
        self.kept += data[:room]
        self.truncated = self.truncated or len(data) > room
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as exc:
                raise LongshoreError(f"Cannot write the output to {self._file.name}: {reason_of(exc)}.") from exc


def check(keep: Keep) -> None:
    """Raises InvalidOption for unsuitable files before anything is changed."""
    for path in filter(None, (keep.stdout_path, keep.stderr_path)):
        if not os.path.isabs(path) or not os.path.isdir(os.path.dirname(path)):
            raise InvalidOption(f"The output cannot be written to {path}: it is no absolute path in a directory.")
        if os.path.lexists(path):
            _check_file(path, os.lstat(path))


def _check_file(path: str, status: os.stat_result) -> None:
    """Refuse a link, a FIFO or a file of another user, which could redirect or disclose the output."""
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
        raise InvalidOption(
            f"The output cannot be written to {path}: it exists, and is not a private file of this user.",
            hint="Remove it, or use another path.",
        )


@contextlib.contextmanager
def outputs(keep: Keep) -> t.Iterator[tuple[Output, Output]]:
    """Yield standard output and errors, and truncate their files. One file for both has them in the order of arrival."""
    with contextlib.ExitStack() as around:
        files: dict[str, t.BinaryIO] = {}
        for path in filter(None, (keep.stdout_path, keep.stderr_path)):
            if path not in files:
                files[path] = around.enter_context(_open(path))
        both = (files.get(keep.stdout_path or ""), files.get(keep.stderr_path or ""))
        yield Output(keep.limit, both[0]), Output(keep.limit, both[1])


def _open(path: str) -> t.BinaryIO:
    try:
        # Not in the same step as the opening: O_TRUNC would truncate a file that may belong to another user.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
        stream = open(path, "wb", buffering=0, opener=lambda name, _flags: without_waiting(name, flags))  # noqa: SIM115
    except OSError as exc:
        raise InvalidOption(f"The output cannot be written to {path}: {reason_of(exc)}.") from exc
    try:
        _check_file(path, os.fstat(stream.fileno()))
        os.fchmod(stream.fileno(), 0o600)
        os.ftruncate(stream.fileno(), 0)
    except BaseException:
        stream.close()
        raise
    return t.cast(t.BinaryIO, stream)


def read_log(path: str, stdout: Output, stderr: Output) -> None:
    """Read the exact standard output and errors from conmon's k8s-file log: lines of ``TIME STREAM F|P TEXT``, where P means
    text without a newline at its end (ctr_logging.c)."""
    found = {b"stdout": stdout, b"stderr": stderr}
    try:
        with open(path, "rb") as log:
            for line in iter(lambda: log.readline(_MOST_IN_LINE), b""):
                if line.endswith(b"\n"):
                    _time, stream, flag, text = (*line[:-1].split(b" ", 3), b"", b"", b"")[:4]
                    if stream in found:
                        found[stream].take(text + (b"\n" if flag == b"F" else b""))
    except FileNotFoundError:
        pass
