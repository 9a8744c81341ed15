# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove everything that a container, a failed launch, a killed task or an earlier boot has left on the host."""

from __future__ import annotations

import os

from .._base.deadline import Deadline
from .._base.errors import EngineError, InvalidInput
from .._base.files import remove_tree
from .._base.process import Handle, kill_and_wait
from .._base.program import find_program
from .._host import cgroup
from .._host.detect import RUNTIMES, Host
from .._runtime.runtime import Runtime
from .._state import names
from .._state.conmon_processes import RUNTIME_PIDFILE, find_conmons, find_runtimes
from .._state.model import Definition, Program, Record, Timeouts
from .._state.store import Store
from .stop import kill_all


def delete_state(store: Store, record: Record, timeouts: Timeouts) -> None:
    """Remove a container that has ended or was never started, and all traces of it in the run directory and beyond.

    The record and the log stay; they are the caller's to forget. Raises EngineError that names what would not go.
    """
    with Handle(record.init) as init:
        kill_all(record, init, Deadline(timeouts.kill))
    with Handle(record.monitor) as monitor:
        # What conmon still does is its exit command; a delay of that (exit_delay) does not hold up a removal.
        if not monitor.wait(Deadline(timeouts.kill)) and record.monitor is not None:
            kill_and_wait([record.monitor], Deadline(timeouts.kill))
    sweep_leftovers(store, record, timeouts)


def sweep_leftovers(store: Store, record: Record, timeouts: Timeouts) -> None:
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
        for path in (names.conmon_cgroup(record), names.container_cgroup(record)):
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
        return cgroup.remove(names.conmon_cgroup(record)) + cgroup.remove(names.container_cgroup(record))
    if record.init is None or cgroup.directories(record.cgroup_path):
        from .._host import systemd

        with systemd.Bus(user=os.geteuid() != 0, deadline=Deadline(10)) as bus:
            bus.stop_unit(names.container_unit(record.name, record.realm))
            bus.stop_unit(names.conmon_unit(record.name, record.realm))
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
