# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs: find them, start them, and wait for their end with a deadline."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import typing as t

from .deadline import Deadline, wait_readable
from .errors import DeadlineExceeded, ProgramFailed, reason_of

# What a program of ours is given, whatever the caller's environment holds.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Completed(t.NamedTuple):
    """A program that ran to its end. ``rc`` is negative for a signal, as in subprocess."""

    rc: int
    stdout: str
    stderr: str


def find_program(name: str, more: t.Sequence[str] = ()) -> str | None:
    """The full path of a program by name or path. /usr/sbin is searched too, which an ssh session may not have in PATH; last come
    the directories in ``more``."""
    directories = [*os.environ.get("PATH", "").split(":"), *SEARCH_PATH.split(":"), *more]
    path = shutil.which(name, path=":".join(directory for directory in directories if directory.startswith("/")))
    return os.path.abspath(path) if path else None


def user_runtime_directory() -> str:
    """XDG_RUNTIME_DIR, also where become has dropped it, or has left that of the user before (su)."""
    path = os.environ.get("XDG_RUNTIME_DIR")
    with contextlib.suppress(OSError):
        if path and os.stat(path).st_uid != os.geteuid():
            path = None
    return path or f"/run/user/{os.geteuid()}"


def clean_environment(**more: str) -> dict[str, str]:
    """A minimal environment: nothing of the caller's leaks into programs that outlive it.

    root's own session is left out: crun (1.8) would put a container of root into the user manager of that session, where
    it ends with the session.
    """
    environment = {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}
    if os.geteuid() != 0:
        environment["XDG_RUNTIME_DIR"] = user_runtime_directory()
    return {**environment, **more}


def spawn(
    argv: t.Sequence[str], *, directory: str, environment: t.Mapping[str, str], output: int, inherited: t.Sequence[int],
    cgroup: str | None = None,
) -> tuple[int, bool]:  # fmt: skip
    """Start a program in a session of its own. Returns its pid, which is the caller's to wait for, and whether it is in
    ``cgroup``.

    Of our descriptors it gets ``inherited``, and ``output`` for what it says. ``cgroup`` is the directory of cgroup2 in
    which it shall be born (CLONE_INTO_CGROUP, Linux 5.7): moving it there afterwards would wait some 10 ms for a grace
    period of RCU. Where that cannot be it is started nonetheless, and has to be moved. Raises OSError, and ValueError for
    a NUL in an argument.
    """
    environment = clean_environment(**environment)
    if cgroup is not None and not any("\0" in word for word in (*argv, *environment.values())):
        from .cgroup_spawn import born_into

        pid = born_into(cgroup, argv, directory=directory, environment=environment, output=output, inherited=inherited)
        if pid > 0:
            return pid, True
    child = subprocess.Popen(
        argv, cwd=directory, env=environment, pass_fds=inherited, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True,
    )  # fmt: skip
    child.returncode = 0  # Not for Popen to wait for: the caller does.
    return child.pid, False


def run(
    argv: t.Sequence[str], deadline: Deadline, *, what: str, env: t.Mapping[str, str] | None = None,
    keeps: t.Sequence[int] = (),
) -> Completed:  # fmt: skip
    """Run a program to its end, or kill it and its group at the deadline.

    When this task is killed, the program dies with it: the next task finds nobody at work. One that ``keeps`` descriptors
    (of locks) lives on instead, and whoever wants the lock waits for it.

    Its output goes to anonymous memory rather than through pipes: a grandchild that keeps them open cannot make us
    wait, and nothing has to be pumped. ``what`` says for the error message what it was to do.
    """
    with _memory("stdout") as out, _memory("stderr") as err, _leash() as leash:
        try:
            everything = clean_environment(**env or {})
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=everything, start_new_session=True,
                pass_fds=keeps or [leash],
            )  # fmt: skip
        except (OSError, ValueError) as exc:  # ValueError: a NUL in an argument
            raise ProgramFailed(f"Cannot run {argv[0]} to {what}: {reason_of(exc)}.", argv=list(argv)) from exc
        descriptor, in_time = -1, False
        try:
            if not keeps:
                tie(leash, -child.pid)
            descriptor = os.pidfd_open(child.pid)
            in_time = bool(wait_readable([descriptor], deadline))
        finally:
            fcntl.fcntl(leash, fcntl.F_SETOWN, 0)  # What it has left running on purpose is not ours to kill.
            if descriptor >= 0:
                os.close(descriptor)
            if not in_time:  # also when the wait was interrupted
                os.killpg(child.pid, signal.SIGKILL)
            rc = child.wait()
        out.seek(0)
        err.seek(0)
        result = Completed(rc, out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace"))
    if not in_time:
        raise DeadlineExceeded(
            f"{argv[0]} did not {what} in time and was killed.", argv=list(argv), stderr=result.stderr[-2000:]
        )
    return result


def _memory(name: str) -> t.BinaryIO:
    return t.cast(t.BinaryIO, open(os.memfd_create(name), "w+b"))


@contextlib.contextmanager
def _leash() -> t.Iterator[int]:
    """The read end of a pipe whose other end only this process has."""
    leash, ours = os.pipe()
    try:
        yield leash
    finally:
        os.close(leash)
        os.close(ours)


def tie(leash: int, owner: int) -> None:
    """Let the kernel kill a process, or a group where the number is negative, when the other end of a pipe is closed: so it goes
    with who holds that, however that ends (fcntl(2), F_SETSIG). It needs no code in the child between fork and exec, which
    would make every start some milliseconds slower (PR_SET_PDEATHSIG)."""
    fcntl.fcntl(leash, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(leash, fcntl.F_SETOWN, owner)
    fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)
