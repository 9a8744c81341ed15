# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a task at each of its steps: right before it changes something on the host, or starts a program.

``steps = killing.steps(task)`` runs a task to its end in a child process, and says what it did, step by step.
``killing.kill(task, at=N)`` runs it once more, and the child gets a signal right before step N. The two need the same
start, or the numbers mean other steps. A step is what an audit hook of Python sees: it comes before the call itself, so
nothing of step N has been done, and everything of the steps before it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import signal
import sys
import threading
import time
import traceback
import typing as t

from ansible_collections.longshore.oci.plugins.module_utils._base import process

# What changes something. Of "open" only that for writing counts.
_EVENTS = {
    "open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.setxattr", "os.removexattr", "os.utime", "os.kill", "os.killpg", "fcntl.flock", "subprocess.Popen", "os.posix_spawn",
    "os.fork", "os.exec", "socket.connect", "socket.bind",
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_LONGEST = 120  # seconds that a task may take, which is far more than any does
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


FAILS = 0  # in the place of a signal


class End(t.NamedTuple):
    """How a task ended. ``rc`` is negative for a signal; ``steps`` is what it was about to do, the last one not done."""

    rc: int
    steps: tuple[str, ...]
    said: str  # the traceback of a task that failed

    @property
    def was_killed(self) -> bool:
        return self.rc < 0


def steps(task: t.Callable[[], object]) -> tuple[str, ...]:
    """Run a task to its end, which has to be a good one."""
    end = kill(task, at=sys.maxsize)
    assert end.rc == 0, end.said
    return end.steps


def kill(
    task: t.Callable[[], object], *, at: int, number: int = signal.SIGKILL, everything: bool = False, later: float = 0,
) -> End:  # fmt: skip
    """Run a task in a child process that gets a signal right before step ``at``, the first of which is 0.

    With ``everything`` all the processes that it has started get the signal as well, also those in sessions of their own.
    With ``later`` the step is let happen, and the signal comes so many seconds after it began: that is for a program at
    work. A task that was at its end before that has an ``rc`` of 0. An interrupted one (SIGINT) counts as killed.
    With a ``number`` of FAILS the step fails, as it does on a full file system, and the task goes on from there.
    """
    said, to_say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(said)
        _be_the_task(task, to_say, at, number, everything, later)
    os.close(to_say)
    deadline = time.monotonic() + _LONGEST
    text, struck = b"", False
    with open(said, "rb", buffering=0) as stream:
        while True:
            if not select.select([stream], [], [], max(0, deadline - time.monotonic()))[0]:
                os.kill(child, signal.SIGKILL)
            more = stream.read(1 << 16)
            text += more
            if later and not struck and text.count(b"\n") > at:
                struck = True
                time.sleep(later)
                _send(child, number, everything)
            if not more:
                break
    rc = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert time.monotonic() < deadline, "The task did not end."
    lines, _mark, trace = text.decode("utf-8", "replace").partition("\0")
    return End(-number if rc == 130 else rc, tuple(lines.splitlines()), trace)


def spread(number: int, most: int, seed: int = 0) -> list[int]:
    """Return at most so many numbers below ``number``: all of them, or the first, the last and some of those between."""
    if number <= most:
        return list(range(number))
    between = random.Random(seed).sample(range(1, number - 1), most - 2)
    return [0, *sorted(between), number - 1]


def _be_the_task(
    task: t.Callable[[], object], to_say: int, at: int, number: int, everything: bool, later: float
) -> t.NoReturn:
    rc = 1
    try:
        os.setpgid(0, 0)
        sys.dont_write_bytecode = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if everything:
            import ctypes

            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # So that a daemon counts as started by the task, too.
        _watch(to_say, at, number, everything, later)
        task()
        rc = 0
    except KeyboardInterrupt:
        rc = 130
    except BaseException:
        os.write(to_say, b"\0" + traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(rc)


def _watch(to_say: int, at: int, number: int, everything: bool, later: float) -> None:
    busy = threading.local()
    count = 0

    def hook(event: str, arguments: tuple[t.Any, ...]) -> None:
        nonlocal count
        if event not in _EVENTS or getattr(busy, "is", False) or (event == "open" and not _writes(arguments)):
            return
        busy.__dict__["is"] = True
        try:
            os.write(to_say, f"{event} {arguments[:2]!a}\n".encode())
            count += 1
            if count == at + 1 and number == FAILS:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if count == at + 1 and not later:
                _send(os.getpid(), number, everything)
        finally:
            busy.__dict__["is"] = False

    sys.addaudithook(hook)


def _writes(arguments: tuple[t.Any, ...]) -> bool:
    path, _mode, flags = arguments
    return bool(flags & _WRITING) and not str(path).startswith(("/dev/", "/proc/self/"))


def _send(task: int, number: int, everything: bool) -> None:
    """The task is the last to get it where it does that itself."""
    for pid in [*(_descendants(task) if everything else ()), task]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _descendants(pid: int) -> list[int]:
    parents = {int(name): process.parent_of(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found = [pid]
    for parent in found:  # It grows.
        found += [child for child, its in parents.items() if its == parent and child not in found]
    return found[1:]
