# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove everything that a container, a failed launch, a killed task or an earlier boot has left on the host."""

from __future__ import annotations

import os

from .._base.deadline import Deadline
from .._base.errors import LongshoreError
from .._base.files import remove_tree
from .._base.pidfd import PidFd, kill_and_wait
from .._host import cgroup, cgroup_removal
from .._runtime.deletion import Deletion
from .._state import names
from .._state.conmon_processes import RUNTIME_PIDFILE, find_conmons, find_runtimes
from .._state.model import CgroupManager, Record, Timeouts
from .._state.phase import Phase
from .._state.store import Store
from .stop import kill_all, wait_for_log


def delete_state(store: Store, record: Record, timeouts: Timeouts) -> None:
    """Remove a container that has ended or was never started, with all its files and cgroups.

    The record and the log stay for the caller. Raises LongshoreError that names objects that could not be removed.
    """
    with PidFd(record.init) as init:
        kill_all(record, init, Deadline(timeouts.kill))
    with PidFd(record.monitor) as monitor:
        # conmon may still run its exit command. Its delay (exit_delay) does not delay a removal.
        if not monitor.wait(Deadline(timeouts.kill)) and record.monitor is not None:
            kill_and_wait([record.monitor], Deadline(timeouts.kill))
    sweep_leftovers(store, record, timeouts)


def sweep_leftovers(store: Store, record: Record, timeouts: Timeouts) -> None:
    """Remove all leftovers, known to the runtime or not. Safe in any state, and any number of times.

    First end running processes, then unmount, then let the runtime delete its state, and remove the rest: a killed restore
    leaves the root file system of the container mounted there, and may be about to mount it. An interrupted launch may have
    left an unrecorded conmon, which the path of this container identifies (conmon_processes.py). The end of conmon also kills
    its runtime (PDEATHSIG).
    """
    from .._base.trees import unmount

    paths = store.paths(record.name)
    launched, sessions = record.phase is Phase.CREATING or record.monitor is None, f"{paths.exec}/"
    strays = []
    if launched or os.path.isdir(sessions):
        strays = find_conmons(
            record.conmon, lambda path: (launched and path == paths.pidfile) or path.startswith(sessions)
        )
    strays += [record.helper] if record.helper else []
    wait_for_log(record)
    stuck = kill_and_wait(strays, Deadline(timeouts.kill))
    if launched:
        # They end with conmon. Wait for them here too, because they may not have their own cgroup.
        stuck += kill_and_wait(find_runtimes(record.runtime, RUNTIME_PIDFILE, paths.pidfile), Deadline(timeouts.kill))
    if record.cgroup_manager is not CgroupManager.SYSTEMD:
        # Also unrecorded processes that a killed runtime has started below conmon.
        for path in (names.conmon_cgroup(record), names.container_cgroup(record)):
            stuck += cgroup_removal.kill(path, Deadline(timeouts.kill))
    left = [f"process {process.pid}" for process in stuck]
    runtime = Deletion(record, paths.runtime_log)
    launching = record.init is None
    # A runtime, or CRIU that has outlived it, still works there.
    left += _remove_cgroups(record) if launching else []
    if os.path.exists(f"{paths.bundle}/restore.log"):
        from .._criu import criu_leftovers

        criu_leftovers.remove(f"{paths.bundle}/restore.log")
    for place in (runtime.directory, paths.run):
        unmount(place)
    said = runtime.delete()
    # A runtime does not delete state without a status file (of a killed create or restore).
    forgotten = said is None or os.path.isdir(runtime.directory) or runtime.keeps_files
    remove_tree(runtime.directory)
    left += [] if forgotten else [f"what {record.runtime.name} keeps of it"]
    left += [] if launching else _remove_cgroups(record)
    if record.definition.conmon_pidfile:
        from .._state.given_paths import put_back

        put_back(record.definition.conmon_pidfile, record.pidfile_before)
    if record.definition.listen:
        from .._ports.host_ports import remove_sockets

        remove_sockets(record.definition)
    remove_tree(paths.run)
    if left:
        hint = f"{record.runtime.name} said: {said}" if said else ""
        raise LongshoreError(f"The container {record.name} has been removed, except for: {', '.join(left)}.", hint=hint)


def _remove_cgroups(record: Record) -> list[str]:
    if record.cgroup_manager is not CgroupManager.SYSTEMD:
        return cgroup_removal.remove(names.conmon_cgroup(record)) + cgroup_removal.remove(
            names.container_cgroup(record)
        )
    if record.init is None or cgroup.directories(record.cgroup_path):
        from .._host import systemd

        with systemd.Bus(user=os.geteuid() != 0, deadline=Deadline(10)) as bus:
            bus.stop_unit(names.container_unit(record.name, record.realm))
            bus.stop_unit(names.conmon_unit(record.name, record.realm))
    return cgroup_removal.remove(record.cgroup_path)
