# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Append the output of a container to a log without conmon: the log driver passthrough.

With the log itself as its output, a container could truncate the log: a shell opens /dev/stdout again (``echo >/dev/stdout``). A runtime
also gives it to the user of the container, who could not open it otherwise. So the output is a pipe.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t

from .._base.errors import ProgramFailed
from .._base.program import clean_environment
from .conmon_launch import private

# A shell starts it in the background, so that it is not a child of this process. At a shutdown, systemd sends SIGTERM to the scope of
# conmon, while the container may still write.
_COPY = 'trap "" HUP INT TERM; cat <"$1" >>"$2" & echo $!'


@contextlib.contextmanager
def log_pipe(path: str, place: t.Callable[[int], None]) -> t.Iterator[str]:
    """Yield the path of a pipe, valid within the block. A process appends its content to a log, until all writers have closed it.

    ``place`` is called with the pid of that process. Raises ProgramFailed, OSError.
    """
    reader, writer = os.pipe()
    try:
        with open(reader, "rb"), open(path, "ab", opener=private) as log:
            names = [f"/proc/self/fd/{number}" for number in (reader, log.fileno())]
            done = subprocess.run(
                ["/bin/sh", "-c", _COPY, "sh", *names], env=clean_environment(), pass_fds=[reader, log.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, check=False,
            )  # fmt: skip
        if not done.stdout.decode("ascii", "replace").strip().isdecimal():
            raise ProgramFailed(f"Cannot append to the log {path}: /bin/sh ended with the code {done.returncode}.")
        place(int(done.stdout))
        yield f"/proc/self/fd/{writer}"
    finally:
        os.close(writer)
