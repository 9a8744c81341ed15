# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of containers: one contract by which they are stopped, whoever asks, and leaving nothing behind.

What is left may be of a container that is removed, a launch that failed, a run that was killed, or an earlier boot.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import typing as t

from .._base.deadline import Deadline
from .._base.errors import DeadlineExceeded, EngineError, InvalidInput
from .._base.files import read_json, read_tail, remove_tree
from .._base.process import Handle, ProcessId, find_program, identify, is_alive, kill_and_wait, signal_name, stuck_in
from .._host import cgroup
from .._host.detect import RUNTIMES, Host
from .._host.runtime import Runtime
from .._state import model
from .._state.conmon_processes import RUNTIME_PIDFILE, find_conmons, find_runtimes
from .._state.model import Definition, Program, Record, StopReport, Timeouts
from .._state.store import Paths, Store
from .observe import EXIT_FILE_SECONDS, collect_exit

if t.TYPE_CHECKING:
    from .._base.lock import Lock


def stop(
    store: Store, lock: Lock, record: Record, *, number: int, timeouts: Timeouts
) -> tuple[StopReport, Record | None]:
    """Ask with a signal, then kill, each with its own deadline; the lock is free while the container takes its time.

    The record says ``stopping`` meanwhile, so that whoever comes next finishes what a killed run has begun. A paused
    container gets the signal before it may go on, so it does nothing else first; one with ``stop`` 0 is killed frozen.
    Its exec sessions are ended first, with the same grace, all at once; those of a paused one are killed.
    Afterwards nothing is left in its cgroup, also without a pid namespace of its own, and conmon has written the exit.
    Returns the record as it is then, or None when somebody else has removed or remade the container meanwhile: then
    nothing more is touched, since its cgroup may be that of the next one. Raises DeadlineExceeded where SIGKILL does not help.
    """
    began = time.monotonic()
    grace = record.stop_timeout if timeouts.stop is None else timeouts.stop
    record = store.save(record.replace(phase="stopping"))
    now: Record | None = record
    with Handle(record.init) as init:
        ended = init.fd is None
        if not ended and grace > 0:
            lock.release()
            try:
                # On v1 what is frozen dies when it is thawed, so that is not waited for here.
                patience = (0.0, 0.0) if cgroup.is_frozen(record.cgroup_path) else (grace, timeouts.kill)
                end_sessions(store.paths(record.name), *patience)
                init.send(number)
                cgroup.thaw(record.cgroup_path)
                ended = init.wait(Deadline(grace))
            finally:
                lock.acquire(Deadline(timeouts.create))
            now = store.load(record.name)
        if now is not None and (now.created_at != record.created_at or now.phase == "removed"):
            now = None
        if now is not None:
            kill_all(record, init, Deadline(timeouts.kill))
            collect_exit(record, store.paths(record.name), Deadline(EXIT_FILE_SECONDS))
            now = store.save(now.replace(phase="stopped"))
    used = "KILL" if not ended and grace <= 0 else signal_name(number)
    return StopReport(signal=used, killed=not ended, waited=round(time.monotonic() - began, 3)), now


def end_sessions(paths: Paths, grace: float, kill: float) -> None:
    """SIGTERM to all exec sessions of a container, then SIGKILL. What of theirs has left its process group (which has the
    number of its leader) is in the container's cgroup, and ends with that."""
    names = os.listdir(paths.exec) if os.path.isdir(paths.exec) else []
    known = [(read_json(f"{paths.exec}/{name}/session.json") or {}).get("process") for name in names]
    leaders = [ProcessId(*process) for process in known if process]
    asked = [process for leader in leaders for process in _group(leader)]
    kill_and_wait(asked, Deadline(0), signal.SIGTERM)
    kill_and_wait(kill_and_wait(leaders, Deadline(grace), 0), Deadline(kill))


def _group(leader: ProcessId) -> list[ProcessId]:
    """The process group with the number of its leader. Empty where that is another's by now."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        # Not read: another user's process has another group, and with hidepid cannot be looked at.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            found += [identify(int(pid))] if os.getpgid(int(pid)) == leader.pid else []
    # A group ends with its last process. So all that was seen is of the leader if that lives on.
    return [process for process in found if process] if is_alive(leader) else []


def kill_all(record: Record, init: Handle, deadline: Deadline) -> None:
    """SIGKILL the first process and everything that is left in the container's cgroup."""
    init.send(signal.SIGKILL)
    left = cgroup.kill(record.cgroup_path, deadline)
    if not init.wait(deadline) and record.init is not None:
        left = [record.init, *left]
    if left:
        raise DeadlineExceeded(
            f"Process {left[0].pid} of the container {record.name} does not die of SIGKILL: it is {stuck_in(left[0])}.",
            hint="A process in state D waits for a device or file system; nothing but that can end it.",
        )


def remove(store: Store, record: Record, timeouts: Timeouts) -> None:
    """Remove a container that has ended or was never started, and all traces of it in the run directory and beyond.

    The record and the log stay; they are the caller's to forget. Raises EngineError that names what would not go.
    """
    with Handle(record.init) as init:
        kill_all(record, init, Deadline(timeouts.kill))
    with Handle(record.monitor) as monitor:
        # What conmon still does is its exit command; a delay of that (exit_delay) does not hold up a removal.
        if not monitor.wait(Deadline(timeouts.kill)) and record.monitor is not None:
            kill_and_wait([record.monitor], Deadline(timeouts.kill))
    sweep(store, record, timeouts)


def sweep(store: Store, record: Record, timeouts: Timeouts) -> None:
    """Clear away whatever is there, known to the runtime or not. Safe to run on anything, any number of times.

    First ends who is still at work, then unmounts, then lets the runtime delete its state, and removes the rest: a restore
    that was killed leaves the root file system of the container mounted there, and may be about to mount it.
    An interrupted launch may have left a conmon that is not in the record yet; it is known by the path of this very
    container (conmons.py). Killing conmon kills the runtime that it runs (PDEATHSIG).
    """
    from .._base.trees import unmount

    paths = store.paths(record.name)
    launched, sessions = record.phase == "creating" or record.monitor is None, f"{paths.exec}/"
    strays = []
    if launched or os.path.isdir(sessions):
        strays = find_conmons(
            record.conmon, lambda path: (launched and path == paths.pidfile) or path.startswith(sessions)
        )
    strays += [record.helper] if record.helper else []
    stuck = kill_and_wait(strays, Deadline(timeouts.kill))
    if launched:
        # They die with conmon, and are waited for here also where they could not be given a cgroup of their own.
        stuck += kill_and_wait(find_runtimes(record.runtime, RUNTIME_PIDFILE, paths.pidfile), Deadline(timeouts.kill))
    if record.cgroup_manager != "systemd":
        # Also what a killed runtime has started below conmon and nobody has a name for.
        for path in (model.conmon_cgroup(record), model.container_cgroup(record)):
            stuck += cgroup.kill(path, Deadline(timeouts.kill))
    left = [f"process {process.pid}" for process in stuck]
    runtime = Runtime(record, paths.runtime_log)
    launching = record.init is None
    # A runtime, or CRIU that has outlived it, is at work in there.
    left += _remove_cgroups(record) if launching else []
    for place in (runtime.directory, paths.run):
        unmount(place)
    said = runtime.delete()
    # State without a status file (a create or restore that was killed) is nothing that a runtime would delete.
    remove_tree(runtime.directory)
    left += [] if launching else _remove_cgroups(record)
    if record.definition.conmon_pidfile:
        from .._state.given_paths import put_back

        put_back(record.definition.conmon_pidfile, record.pidfile_before)
    if record.definition.listen:
        from .._ports.host_ports import remove_sockets

        remove_sockets(record.definition)
    remove_tree(paths.run)
    if left:
        raise EngineError(
            f"The container {record.name} is gone, but these are left: {', '.join(left)}.",
            hint=f"{record.runtime.name} said: {said}" if said else "",
        )


def _remove_cgroups(record: Record) -> list[str]:
    if record.cgroup_manager != "systemd":
        return cgroup.remove(model.conmon_cgroup(record)) + cgroup.remove(model.container_cgroup(record))
    if record.init is None or cgroup.directories(record.cgroup_path):
        from .._host import systemd

        with systemd.Bus(user=os.geteuid() != 0, deadline=Deadline(10)) as bus:
            bus.stop_unit(model.container_unit(record.name, record.realm))
            bus.stop_unit(model.conmon_unit(record.name, record.realm))
    return cgroup.remove(record.cgroup_path)


def orphans(store: Store, host: Host, name: str) -> list[Record]:
    """Stand-ins for the record of a container that has none any more, one for each runtime that may have its state."""
    found = [Program(runtime, find_program(runtime) or runtime, "unknown") for runtime in RUNTIMES]
    try:
        conmon = host.conmon(None)
    except InvalidInput:
        conmon = Program("conmon", "conmon", "unknown")
    return [
        Record(
            name=name, phase="creating", definition=Definition(bundle=""), config_digest="", runtime=program,
            runtime_root=f"{store.run_dir}/{program.name}", conmon=conmon, boot="",
            cgroup_manager=host.cgroup_manager("auto"), realm=store.realm,
        )
        for program in found
    ]  # fmt: skip


def last_words(paths: Paths, log_path: str | None) -> dict[str, list[str]]:
    """The ends of the logs of a container, for an error that comes before they are swept away."""
    return {
        "restore_log": read_tail(f"{paths.bundle}/restore.log", lines=100),
        "runtime_log": read_tail(paths.runtime_log),
        "conmon_log": read_tail(paths.conmon_log),
        "network_log": read_tail(paths.network_log),
        "container_log": read_tail(log_path) if log_path else [],
    }
