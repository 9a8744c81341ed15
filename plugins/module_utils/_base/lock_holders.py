# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a lock: for the message to somebody who waited for it in vain. Nothing is locked or written for that."""

from __future__ import annotations

import contextlib
import os

from .errors import EngineError
from .files import read_text


def holders(path: str) -> list[str]:
    """Return the processes that hold an flock on a file, as words: ``process 12 (runc)``. Of other users only root sees any.

    The kernel lists a lock with each descriptor of the open file that it was taken by (fdinfo, proc(5)), so a program that
    has inherited it is found too, where /proc/locks names the task that is gone.
    """
    found, path = [], os.path.realpath(path)  # as the kernel calls it: /var/run is a link
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, EngineError):
            if any(_holds(pid, number, path) for number in os.listdir(f"/proc/{pid}/fd")):
                found.append(f"process {pid} ({(read_text(f'/proc/{pid}/comm') or '').strip()})")
    return found


def _holds(pid: str, number: str, path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        same = os.readlink(f"/proc/{pid}/fd/{number}") == path
        return same and "lock:" in (read_text(f"/proc/{pid}/fdinfo/{number}") or "")
    return False
