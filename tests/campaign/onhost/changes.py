# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Changes below directories, as they happen (inotify): for a kill right after the n-th change of a file."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import time
import typing as t

_IN_MODIFY, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_IN_ISDIR = 0x40000000
_MASK = _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
_HEAD = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Changes:
    """Counts what comes, goes or is renamed below some directories."""

    def __init__(self, directories: t.Iterable[str]) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watched: dict[int, str] = {}
        for directory in directories:
            for place, _names, _files in os.walk(directory):
                self._watch(place)

    def close(self) -> None:
        os.close(self._fd)

    def _watch(self, directory: str) -> int:
        """Also what has come into it before the watch was there; returns how much that is."""
        number = _libc.inotify_add_watch(self._fd, os.fsencode(directory), _MASK)
        if number < 0:
            return 0
        self._watched[number] = directory
        count = 0
        with contextlib.suppress(OSError):
            for entry in os.scandir(directory):
                if entry.is_dir(follow_symlinks=False):
                    count += 1 + self._watch(entry.path)
        return count

    def await_number(self, number: int, pid: int, seconds: float) -> int:
        """Wait for so many, no longer than the process lives or so many seconds. Returns how many there were."""
        count = 0
        limit = time.monotonic() + seconds
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return count
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.register(process, select.POLLIN)
            while count < number:
                left = limit - time.monotonic()
                ready = [fd for fd, _event in poll.poll(left * 1000)] if left > 0 else []
                if self._fd not in ready:
                    break
                count += self._read()
            return count
        finally:
            os.close(process)

    def _read(self) -> int:
        data = os.read(self._fd, 65536)
        count, offset = 0, 0
        while offset < len(data):
            watch, mask, _cookie, length = _HEAD.unpack_from(data, offset)
            name = data[offset + _HEAD.size : offset + _HEAD.size + length].rstrip(b"\0")
            offset += _HEAD.size + length
            count += 1
            if mask & _IN_ISDIR and mask & (_IN_CREATE | _IN_MOVED_TO) and watch in self._watched:
                count += self._watch(os.path.join(self._watched[watch], os.fsdecode(name)))
        return count
