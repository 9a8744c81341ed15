# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""One at a time: a lock that the kernel drops when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

from .deadline import Deadline


@contextlib.contextmanager
def locked(path: str, *, deadline: Deadline, what: str) -> t.Iterator[None]:
    """Hold the lock file `path`. Python closes the descriptor on exec, so no host inherits the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # flock has no timeout of its own, hence the bounded retry
                left = deadline.remaining(f"another bin/hosts that is busy with {what} ({path})")
                time.sleep(min(0.2, left))
        yield
    finally:
        os.close(descriptor)


__all__ = ("locked",)
