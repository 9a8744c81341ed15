# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run commands in running containers with conmon and the runtime's ``exec``, and wait for them or detach them.

    result = run(store, "web", Command(("nginx", "-t")))

Each command starts one conmon and one runtime, and no other program. The state of the container comes from files.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import typing as t

from .._base.accounts import User, find_user, is_number, needed_files
from .._base.capabilities import bounding
from .._base.deadline import Deadline
from .._base.errors import Conflict, DeadlineExceeded, LongshoreError, ProgramFailed, Reason, WrongState
from .._base.files import read_text, remove_file, write_text
from .._base.process import ProcessId, identify, in_pid_file, stuck_in
from .._conmon import conmon, conmon_launch
from .._conmon.memory_mark import memory_ran_out
from .._container.observe import observe
from .._host import cgroup
from .._runtime.drivers import driver_of
from .._state import names
from .._state.model import CgroupManager, Record, Status
from .._state.phase import Phase
from .._state.store import Store, check_name
from . import output, session_store
from .attach import Streams, exec_argv
from .container_fs import Rootfs, TooLarge
from .process_spec import Command, check, process_spec
from .request import Limits, Result
from .session_store import Session, SessionPaths

_LIMITS = Limits()
_BY_NUMBER = "Give user and group by their numbers."
# Where the kernel refuses a program: runtimes report the start of a command before execve(2). runc 1.2 and newer end with 255.
_LATE = (1, 255)
_LAUNCH_SECONDS = 10.0  # for conmon and the runtime, in addition to the time limit of a command


class Preserved(t.Protocol):
    """The interface of Descriptors, whose file is not shipped with oci_exec, because no module has a use for it."""

    numbers: tuple[int, ...]

    def arrange(self, argv: list[str]) -> list[str]: ...


def running(store: Store, name: str) -> tuple[Record, ProcessId]:
    """Return the record and the first process of a running container. Raises WrongState or Conflict for any other
    container, and LongshoreError if its state is unknown."""
    check_name(name)
    seen = observe(store, name)
    record, status = seen.record, seen.status
    says = {
        Status.ABSENT: ("does not exist", "oci_container creates it."),
        Status.CREATED: ("has not been started", "Start it: oci_container with state=started."),
        Status.PAUSED: ("is paused", "Resume it: oci_container with state=started."),
        Status.STOPPED: ("has ended", "Start it: oci_container with state=started."),
        Status.CHECKPOINTED: ("is checkpointed", "Restore it: oci_container with state=started."),
    }
    if status is Status.UNKNOWN:
        raise LongshoreError(f"No command can run in the container {name}: {seen.problem}")
    if status in says:
        words, hint = says[status]
        code = seen.exit.words() if seen.exit else ""
        raise WrongState(f"The container {name} {words}{code}, so no command can run in it.", hint=hint)
    if record is None or record.init is None or record.phase is Phase.STOPPING:
        raise Conflict(f"The container {name} is being stopped, so no command can run in it.")
    return record, record.init


def exists(store: Store, name: str, pattern: str, *, directory: str | None = None) -> bool:
    """Tell whether a path, or one that matches a pattern, exists in a running container."""
    _record, init = running(store, name)
    own = (store.load_config(name) or {}).get("process", {}).get("cwd") or "/"
    return Rootfs(f"/proc/{init.pid}/root").exists(os.path.join(directory or own, pattern))


def run(
    store: Store, name: str, command: Command, *, stdin: bytes | None = None, session: str | None = None,
    limits: Limits = _LIMITS, preserve: Preserved | None = None, keep: output.Keep = output.KEEP,
) -> Result:  # fmt: skip
    """Run a command and wait until it ends. ``stdin`` None is an empty input, ``keep`` is the destination of its output.

    ``preserve`` are open files for it (fd_mapping). Raises InvalidOption, WrongState or Conflict before the command
    is launched, and ProgramFailed with ``rc`` 126 or 127 for a command that could not run. The session is always removed.
    If this process is killed, the next call for this container removes it.
    """
    output.check(keep)
    plan = _Launch(store, name, command, session, limits, preserve, has_input=stdin is not None)
    with Streams(stdin, terminal=command.tty, keep=keep) as streams, _launched(plan, streams) as live:
        try:
            timed_out = _copy_to_the_end(live, streams, limits)
            rc = _code(live)
        except BaseException:
            _clear_away(live.paths, live.record, grace=0, kill=limits.kill)
            raise
        if rc is None:  # conmon was killed, and the command may still run
            _clear_away(live.paths, live.record, grace=limits.stop, kill=limits.kill)
        failed, oom = _failed_late(plan, live, rc, streams), memory_ran_out(live.paths)
        session_store.forget(live.paths)
        if failed is not None:
            raise failed
        return result_of(live.session, rc, streams.out, streams.err, time.time(), timed_out, oom)


def start(
    store: Store, name: str, command: Command, *, session: str | None = None, limits: Limits = _LIMITS,
    preserve: Preserved | None = None,
) -> tuple[Session, bool]:  # fmt: skip
    """Start a command in the background. Return False if a session with this id already runs the same command."""
    plan = _Launch(store, name, command, session, limits, preserve)
    with _launched(plan, None) as live:
        return live.session, live.sync is not None


def result_of(
    session: Session, rc: int | None, stdout: output.Output, stderr: output.Output, end: float, timed_out: bool, oom: bool
) -> Result:  # fmt: skip
    truncated = tuple(name for name, stream in (("stdout", stdout), ("stderr", stderr)) if stream.truncated)
    kept, started = (bytes(stdout.kept), bytes(stderr.kept)), session.started or 0
    return Result(session.id, session.pid, rc, *kept, started, end, timed_out, oom, truncated)


class _Launch(t.NamedTuple):
    """A launch: the command and its options."""

    store: Store
    name: str
    command: Command
    session: str | None
    limits: Limits
    preserve: Preserved | None
    has_input: bool = False


class _Live(t.NamedTuple):
    """A launched session. ``sync`` None: it already existed."""

    record: Record
    paths: SessionPaths
    session: Session
    sync: conmon_launch.Pipe | None


def _failed_late(plan: _Launch, live: _Live, rc: int | None, streams: Streams) -> LongshoreError | None:
    if rc not in _LATE:
        return None
    from .failure import late

    return late(plan.store, live.record, live.paths, plan.command, (streams.stdout, streams.stderr))


def _is_dumped_now(store: Store, name: str) -> bool:
    """Tell whether a checkpoint is in progress, which freezes the container. Check the result under the lock."""
    record = store.load(name)
    return record is not None and record.phase is Phase.CHECKPOINTING


@contextlib.contextmanager
def _launched(plan: _Launch, streams: Streams | None) -> t.Iterator[_Live]:
    """Launch under the lock until the command runs, so that no task can stop or remove the container, or use the id."""
    check(plan.command)
    identifier = plan.session or os.urandom(8).hex()
    session_store.check_id(identifier)
    store, container, limits = plan.store, plan.store.paths(plan.name), plan.limits
    if not _is_dumped_now(store, plan.name):
        running(store, plan.name)  # Refuse impossible requests before the lock.
    _clear_abandoned(store, plan.name, limits)
    with contextlib.ExitStack() as stack:
        with store.locked(plan.name, Deadline(limits.create)):
            record, init = running(store, plan.name)
            session_store.forget_unrecorded(container)
            paths = SessionPaths(container, identifier)
            there = session_store.load(paths)
            if there is not None or os.path.isdir(paths.bundle):
                yield _Live(record, paths, _same(there, plan, streams, record, paths), None)
                return
            spec = _spec(store, record, init, plan.command)
            argv, user, tty = plan.command.argv, plan.command.user, plan.command.tty
            session = Session(identifier, argv, user, tty, detached=streams is None, owner=identify(os.getpid()))
            try:
                session_store.lay_out(paths, session)
                write_text(paths.spec, json.dumps(spec))
                sync, session = _start(plan, record, paths, session, streams, stack, umask=spec["user"]["umask"])
            except BaseException as exc:
                from .failure import explain

                failed = explain(exc, record, paths, plan.command) if isinstance(exc, LongshoreError) else exc
                # If conmon has reported, it is finished. Otherwise search for what it has started.
                if not isinstance(exc, ProgramFailed) or exc.reason is Reason.UNREPORTED:
                    _clear_away(paths, record, grace=0, kill=limits.kill)
                session_store.forget(paths)
                raise failed from exc
            finally:
                remove_file(paths.spec)  # It contains the environment, which must not stay on disk.
        yield _Live(record, paths, session, sync)


def _same(
    there: Session | None, plan: _Launch, streams: Streams | None, record: Record, paths: SessionPaths
) -> Session:
    if (
        there is None
        or streams is not None
        or there.argv != plan.command.argv
        or session_store.ended(paths, record, there)
    ):
        raise Conflict(
            f"The container {plan.name} already has a session {paths.id}.",
            hint="Choose another id, or delete that session with state=absent.",
        )
    return there


def _clear_abandoned(store: Store, name: str, limits: Limits) -> None:
    """Remove the sessions of killed tasks. Their processes are recorded, so this needs no lock."""
    record = store.load(name)
    for paths in session_store.all_of(store.paths(name)):
        session = session_store.load(paths)
        if record is not None and session is not None and session.abandoned:
            _clear_away(paths, record, grace=limits.stop, kill=limits.kill)


def _clear_away(paths: SessionPaths, record: Record, *, grace: float, kill: float) -> None:
    from .session_end import clear_away

    clear_away(paths, record, grace=grace, kill=kill)


def _spec(store: Store, record: Record, init: ProcessId, command: Command) -> dict[str, t.Any]:
    saved = store.load_config(record.name)
    if saved is None:
        raise LongshoreError(f"The saved config of the container {record.name} is missing or damaged.")
    user = _find_user(Rootfs(f"/proc/{init.pid}/root"), record, saved["process"], command)
    everything = bounding(read_text("/proc/self/status") or "")
    groups = os.geteuid() == 0 or not driver_of(record.runtime.name).groups_need_root
    return process_spec(saved, command, user, host_capabilities=everything, further_groups=groups)


def _find_user(rootfs: Rootfs, record: Record, own: t.Mapping[str, t.Any], command: Command) -> User:
    """Return the user, from the container's files only if needed. A number needs none of them, so the container cannot block it.
    Most runtimes however open both files for every command, in the container and without a deadline."""
    reads = driver_of(record.runtime.name).reads_accounts
    mine = own.get("user") or {}
    wanted = command.user if command.user is not None else f"{mine.get('uid', 0)}:{mine.get('gid', 0)}"
    same = command.user is None or wanted == str(mine.get("uid", 0))
    home = "HOME" in command.env or (same and any(word.startswith("HOME=") for word in own.get("env") or []))
    texts: list[str | None] = []
    for path, needed in zip(("/etc/passwd", "/etc/group"), needed_files(wanted, home=home)):
        try:
            texts.append(rootfs.read_text(path) if needed or reads else None)
        except LongshoreError as exc:
            waits = reads and not isinstance(exc, TooLarge)
            exc.hint = f"{record.runtime.name} would wait for it, for any user." if waits else _BY_NUMBER
            if waits or not all(map(is_number, filter(None, wanted.split(":")))):
                raise
            texts.append(None)
    return find_user(wanted, passwd=texts[0], group=texts[1], where="container")


def _start(
    plan: _Launch, record: Record, paths: SessionPaths, session: Session, streams: Streams | None,
    stack: contextlib.ExitStack, *, umask: int,
) -> tuple[conmon_launch.Pipe, Session]:  # fmt: skip
    """Start a session. One deadline covers all steps, so the container, whose files a runtime reads, cannot delay it further."""
    create, run = plan.limits.create, plan.limits.run
    deadline = Deadline(create if run is None else min(create, run + _LAUNCH_SECONDS))
    argv = exec_argv(record, paths, terminal=plan.command.tty, stdin=plan.has_input, attach=streams is not None)
    argv = plan.preserve.arrange(argv) if plan.preserve else argv
    pipes = stack.enter_context(
        conmon_launch.launch(
            argv, directory=paths.bundle, output=paths.conmon_log, environment=record.definition.conmon_env,
            place=lambda pid: _place(record, pid, deadline.at_most(10)),
            spawn_directory=cgroup.spawn_directory(_beside(record), cgroup.layout()),
            names=("SYNC", "START", "ATTACH") if streams else ("SYNC", "START"), preserve=plan.preserve.numbers if plan.preserve else (),
            umask=umask,
        )
    )  # fmt: skip
    pipes["START"].go_on()
    if streams is not None:
        if pipes["ATTACH"].report(deadline)[0] != 0:
            raise ProgramFailed("")
        streams.connect(paths.bundle)
        pipes["START"].go_on()
    pid = conmon_launch.read_pid(pipes["SYNC"], deadline)
    monitor = in_pid_file(paths.conmon_pidfile)
    session = session._replace(pid=pid, process=identify(pid), monitor=monitor, started=time.time())
    return pipes["SYNC"], session_store.save(paths, session)


def _beside(record: Record) -> str | None:
    """Return the cgroup of the container's conmon if it still exists and root can write to it."""
    path = record.conmon_cgroup_path or ""
    own = (
        names.conmon_unit(record.name, record.realm)
        if record.cgroup_manager is CgroupManager.SYSTEMD
        else names.conmon_cgroup(record)
    )
    return path if own in path and cgroup.directories(path) else None


def _place(record: Record, pid: int, deadline: Deadline) -> None:
    beside = _beside(record)
    if beside is not None:
        with contextlib.suppress(OSError, LongshoreError):
            cgroup.place(beside, pid)
            return
    # Without permission for that, the session stays in the cgroup of this task, like its container.
    with contextlib.suppress(OSError, LongshoreError):
        conmon.place(record, pid, deadline)


def _copy_to_the_end(live: _Live, streams: Streams, limits: Limits) -> bool:
    """Return True if the limit was reached and the session was stopped. Keep its output until the end."""
    sync = t.cast(conmon_launch.Pipe, live.sync)
    if streams.copy(sync, None if limits.run is None else Deadline(limits.run)):
        return False
    from .._base.pidfd import kill_and_wait
    from .session_end import end_families, family

    leaders = [live.session.process] if live.session.process else []
    for number, seconds in ((signal.SIGTERM, limits.stop), (signal.SIGKILL, limits.kill)):
        deadline = Deadline(seconds)
        members = [process for leader in leaders for process in family(leader)] if seconds > 0 else []
        kill_and_wait(members, Deadline(0), number)
        if streams.copy(sync, deadline):
            kill_and_wait(members, deadline, 0)  # the children have the same timeout
            break
    left = end_families(leaders, grace=0, kill=limits.kill)
    if left or not sync.complete():
        raise DeadlineExceeded(
            f"The session {live.session.id} in the container {live.record.name} reached its time limit, and does not end."
            f"{f' Process {left[0].pid} is {stuck_in(left[0])}.' if left else ''}"
        )
    return True


def _code(live: _Live) -> int | None:
    number, _message = t.cast(conmon_launch.Pipe, live.sync).report(Deadline(0))
    if number >= 0:
        return number
    end = session_store.ended(live.paths, live.record, live.session)
    return end.code if end else None
