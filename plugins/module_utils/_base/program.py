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
from .files import read_text

# The umask and environment of the engine's programs. They do not depend on those of the caller.
UMASK = 0o022
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOST_WORD = (
    32 * os.sysconf("SC_PAGE_SIZE") - 1
)  # bytes of an argument or variable: MAX_ARG_STRLEN of the kernel without its NUL


class Completed(t.NamedTuple):
    """The result of an ended program. ``rc`` is negative for a signal, as in subprocess."""

    rc: int
    stdout: str
    stderr: str


def find_program(name: str, more: t.Sequence[str] = ()) -> str | None:
    """Return the full path of a program by name or path, or None. Search PATH, /usr/sbin (which the PATH of an ssh session may
    lack), and then the directories in ``more``."""
    directories = [*os.environ.get("PATH", "").split(":"), *SEARCH_PATH.split(":"), *more]
    path = shutil.which(name, path=":".join(directory for directory in directories if directory.startswith("/")))
    return os.path.abspath(path) if path else None


def user_runtime_directory() -> str:
    """Return XDG_RUNTIME_DIR, also if become has removed it or has kept the one of the former user (su)."""
    path = os.environ.get("XDG_RUNTIME_DIR")
    with contextlib.suppress(OSError):
        if path and os.stat(path).st_uid != os.geteuid():
            path = None
    return path or f"/run/user/{os.geteuid()}"


def clean_environment(**more: str) -> dict[str, str]:
    """Return a minimal environment, so that no variable of the caller leaks into programs that outlive it.

    For root, it does not name the session: crun (1.8) would put a container of root into the user manager of that session,
    and the container would end with the session.
    """
    environment = {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}
    if os.geteuid() != 0:
        environment["XDG_RUNTIME_DIR"] = user_runtime_directory()
    return {**environment, **more}


def spawn(
    argv: t.Sequence[str], *, directory: str, environment: t.Mapping[str, str], output: int, inherited: t.Sequence[int],
    cgroup: str | None = None, umask: int = UMASK,
) -> tuple[int, bool]:  # fmt: skip
    """Start a program in its own session. Return its pid, for which the caller must wait, and whether it is in ``cgroup``.

    The program inherits the descriptors ``inherited``, and ``output`` as its output. ``cgroup`` is the directory of cgroup2
    in which it starts (CLONE_INTO_CGROUP, Linux 5.7): moving it there later would take about 10 ms (a grace period of
    RCU). If the kernel does not allow this, or the ``umask`` differs from that of this process, the program starts outside, and
    the caller must move it. Raises OSError, and ValueError for a NUL in an argument.
    """
    environment = clean_environment(**environment)
    same = f"\nUmask:\t{umask:04o}\n" in (read_text("/proc/self/status") or "")
    if cgroup is not None and same and not any("\0" in word for word in (*argv, *environment.values())):
        from .cgroup_spawn import spawn_into

        pid = spawn_into(cgroup, argv, directory=directory, environment=environment, output=output, inherited=inherited)
        if pid > 0:
            return pid, True
    child = subprocess.Popen(
        argv, cwd=directory, env=environment, pass_fds=inherited, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True, umask=umask,
    )  # fmt: skip
    child.returncode = 0  # The caller waits for the process, not Popen.
    return child.pid, False


def run(
    argv: t.Sequence[str], deadline: Deadline, *, what: str, env: t.Mapping[str, str] | None = None,
    keeps: t.Sequence[int] = (), most: int | None = None, umask: int = -1,
) -> Completed:  # fmt: skip
    """Run a program until it ends, or kill it and its group at the deadline.

    If this task is killed, the kernel kills the program too, so the next task finds no process. A program that ``keeps``
    descriptors (of locks) continues instead, and other tasks wait for its lock.

    The output goes to anonymous memory instead of pipes, so a grandchild that keeps it open cannot block this task, and
    no loop has to copy it. ``what`` describes the purpose of the program for error messages. ``most`` limits the bytes of each of
    stdout and stderr: a program that writes more gets an error (EPERM), and the first ``most`` bytes are kept. ``umask`` is that of
    the program, -1 the one of this process.
    """
    with _memory("stdout", most) as out, _memory("stderr", most) as err, _leash() as leash:
        try:
            everything = clean_environment(**env or {})
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=everything, start_new_session=True,
                pass_fds=keeps or [leash], umask=umask,
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
            fcntl.fcntl(leash, fcntl.F_SETOWN, 0)  # Background processes that the program has left must not be killed.
            if descriptor >= 0:
                os.close(descriptor)
            if not in_time:  # also after an interruption
                os.killpg(child.pid, signal.SIGKILL)
            rc = child.wait()
        out.seek(0)
        err.seek(0)
        result = Completed(rc, _text(out, most), _text(err, most))
    if not in_time:
        message = f"{argv[0]} did not {what} in time and was killed."
        raise DeadlineExceeded(message, argv=list(argv), stderr=result.stderr[-2000:])
    return result


def _text(memory: t.BinaryIO, most: int | None) -> str:
    # Of a bounded file, only the pages that were written are read.
    data = memory.read() if most is None else memory.read(os.fstat(memory.fileno()).st_blocks * 512).rstrip(b"\0")
    return data.decode("utf-8", "replace")


def _memory(name: str, most: int | None) -> t.BinaryIO:
    """Open an anonymous file. With ``most`` it has that size from the start, and cannot grow."""
    memory = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    if most is not None:
        os.truncate(memory, most)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    return t.cast(t.BinaryIO, open(memory, "w+b"))


@contextlib.contextmanager
def _leash() -> t.Iterator[int]:
    """Yield the read end of a pipe whose write end only this process has."""
    leash, ours = os.pipe()
    try:
        yield leash
    finally:
        os.close(leash)
        os.close(ours)


def tie(leash: int, owner: int) -> None:
    """Let the kernel kill a process (or a group, if the number is negative) when the other end of a pipe is closed.

    The process then ends together with the owner of that end, even if the owner is killed (fcntl(2), F_SETSIG). This needs
    no code between fork and exec, which would slow down each start by some milliseconds (PR_SET_PDEATHSIG)."""
    fcntl.fcntl(leash, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(leash, fcntl.F_SETOWN, owner)
    fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)
