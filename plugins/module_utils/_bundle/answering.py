# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find files whose file system does not answer, before this process touches them: it could not be ended before they do.

The server of NFS and the like, or the program behind FUSE, may be gone. A request to FUSE that its program has read cannot even
be ended by SIGKILL (request_wait_answer() in the kernel's fs/fuse/dev.c), so a child asks, and is left alone if it hangs. Paths on
other file systems cost no process. Without an answer for the root directory of the host nothing works, so that is not asked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import typing as t

from .._base import mountinfo
from .._base.deadline import Deadline, wait_readable
from .._base.errors import DeadlineExceeded
from .._base.program import clean_environment

_MOST_LINKS = 40
_LONGEST = 120  # seconds: a server that is restarted answers again after 90 at most (grace period of NFS)
_REAPING = 0.1
# Reads, because the kernel answers other questions from its cache for a while.
_ASK = 'for each; do echo; if [ -d "$each" ]; then ls -f "$each" | head -n 1; elif [ -f "$each" ]; then head -c 1 "$each"; fi >&2; done'


def check(paths: t.Iterable[str], deadline: Deadline) -> None:
    """Raise DeadlineExceeded for the first path that does not answer. Say nothing of those that do not exist."""
    remote = {mount.place: mountinfo.is_remote(mount.kind) for mount in mountinfo.read()}
    remote = {place: True for place, found in remote.items() if found}
    asked = [path for path in paths if path.startswith("/") and _leads_into(path, remote)] if remote else []
    if asked:
        answers = ask(asked, deadline.at_most(_LONGEST))
        if answers is not None:
            raise DeadlineExceeded(
                f"{asked[max(answers - 1, 0)]} did not answer in time.",
                hint="It is on a network or FUSE file system. Check its server, or unmount it.",
            )


def _leads_into(path: str, places: t.Container[str]) -> bool:
    """Tell whether a path, with its links, leads to or through one of these directories. Touch nothing in them."""
    todo, at, links = path.split("/")[::-1], "", 0
    while todo and links <= _MOST_LINKS:
        word = todo.pop()
        if word in ("", "."):
            continue
        above, at = at, at.rpartition("/")[0] if word == ".." else f"{at}/{word}"
        if (at or "/") in places:
            return True
        with contextlib.suppress(OSError):  # It is not a link, or does not exist.
            target = os.readlink(at or "/")
            links, at = links + 1, "" if target.startswith("/") else above
            todo += target.split("/")[::-1]
    return False


def ask(paths: t.Sequence[str], deadline: Deadline) -> int | None:
    """Return how many paths were asked when the deadline passed, or None if all have answered."""
    with open(os.memfd_create("answers"), "w+b") as answers:
        child = subprocess.Popen(
            ["/bin/sh", "-c", _ASK, "sh", *paths], stdin=subprocess.DEVNULL, stdout=answers, stderr=subprocess.DEVNULL,
            cwd="/", env=clean_environment(), start_new_session=True,
        )  # fmt: skip
        descriptor, in_time = os.pidfd_open(child.pid), False
        try:
            in_time = bool(wait_readable([descriptor], deadline))
        finally:
            if not in_time:  # also after an interruption
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            if wait_readable([descriptor], Deadline(_REAPING)):
                child.wait()
            child.returncode = 0  # Popen must not wait for one that hangs.
            os.close(descriptor)
        return None if in_time else os.fstat(answers.fileno()).st_size
