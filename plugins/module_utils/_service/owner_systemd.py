# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that are systemd services: their unit runs conmon, at boot and according to the restart policy.

Only systemd starts and stops such a container, also for Longshore. The unit runs a short script, which needs a shell, flock(1)
and the runtime, but no part of Longshore.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import typing as t

from .._base import leftovers
from .._base.deadline import Deadline, wait_readable
from .._base.errors import DeadlineExceeded, InvalidOption, LongshoreError, ProgramFailed
from .._base.files import check_text, make_directory, read_text, remove_file, remove_tree, write_text
from .._base.pidfd import PidFd
from .._base.process import boot_id, is_alive, signal_name
from .._config.stop_contract import after_service
from .._conmon.exit_files import EXIT_FILE_SECONDS
from .._conmon.exit_wait import collect_exit
from .._conmon.session_processes import end_sessions
from .._container import rollback
from .._container.create import Launch, write_config
from .._container.delete import delete_container
from .._container.joined_namespaces import peers
from .._container.observe import live_status
from .._container.ownership import check_names, check_unit, has_unit
from .._container.stop import kill_all, still_stopping
from .._host import systemd, userns
from .._host.detect import Host
from .._host.orphans import orphans
from .._host.service_processes import with_service_processes
from .._runtime.failure import error_in
from .._state import names
from .._state.model import CgroupManager, NetworkHelper, Observed, Record, Status, StopReport, Timeouts
from .._state.phase import Phase
from .._state.store import Paths, Store
from .._state.timestamps import timestamp
from .._trust import trust
from . import stop_starting
from .service_unit import MARGIN, failed_mark, mount_sources, overlay_at, start_seconds
from .unit_state import is_enabled, texts, written

if t.TYPE_CHECKING:
    from .._state.lock import Lock

_PROMPT = 30.0  # seconds for systemd to reload units


def check(store: Store, launch: Launch) -> None:
    record, wanted, closed = launch.record, launch.record.definition, userns.barrier(launch.config)
    sockets = "systemd has socket units for that."
    refused = (
        (record.cgroup_manager is not CgroupManager.SYSTEMD, "A service needs systemd, and the cgroup manager systemd.",
         "Leave out cgroup_manager."),
        (wanted.network_helper is NetworkHelper.SLIRP4NETNS, "slirp4netns cannot be used with service.", "Use network_helper: pasta."),
        (closed, f"The root of the container cannot enter {closed}, which contains its root file system.",
         "A service needs access: use chmod o+x, or another path for the bundle."),
        (wanted.reserve_ports, "reserve_ports cannot be used with service.", sockets),
        (wanted.listen, "listen cannot be used with service.", sockets),
    )  # fmt: skip
    for is_so, message, hint in refused:
        if is_so:
            raise InvalidOption(message, hint=hint)
    if wanted.runtime_root is not None:
        # The script creates it at boot. In a directory like /tmp, another user may have created it by then.
        trust.check(os.path.dirname(wanted.runtime_root.rstrip("/")), "runtime_root: the directory", missing=True)
    for path in mount_sources(launch.config):
        check_text("The source of a mount of a service", path)  # A unit has no escape for it.
    for kind, peer in peers(launch.config, store.paths(record.name)).items():
        other = store.load(peer)
        if other is not None and other.cgroup_manager is not CgroupManager.SYSTEMD:
            what = f"the {kind} namespace of the container {peer} only with cgroup_manager: systemd of that"
            raise InvalidOption(f"A service can share {what}.", hint="Its unit knows the other container by its scope.")


def create(store: Store, launch: Launch, *, previous: Record | None, timeouts: Timeouts) -> tuple[Record, list[str]]:
    """Write the unit and its files, and start nothing. After a failure, the former record, config and claim are restored."""
    record, paths = launch.record, store.paths(launch.record.name)
    check_names(record, previous)
    check_unit(record, paths)
    previous_config = read_text(paths.config)
    make_directory(paths.state)
    store.save(record)
    try:
        store.claim_bundle(record.definition.bundle, record.name)
        remove_tree(paths.persist)  # Otherwise the exit of the former run would be read.
        unit = names.service_unit(record.name, record.realm)
        digest = write_config(launch._replace(config=after_service(launch.config, unit)), paths)
        overlay = overlay_at(launch.config["root"]["path"])
        record = record.replace(phase=Phase.CREATED, config_digest=digest, created_at=timestamp(), overlay=overlay)
        write(store, record, timeouts)
    except BaseException:
        try:
            # The first failure counts.
            with contextlib.suppress(LongshoreError):
                remove_unit(record.name, record.realm)
            for path in (names.service_path(record.name, record.realm), paths.service_script):
                remove_file(path)
        finally:
            rollback.restore_previous(store, record, previous, previous_config)
        raise
    if previous is not None and previous.definition.bundle != record.definition.bundle:
        store.release_bundle(previous.definition.bundle, record.name)
    return store.save(record), []


def write(store: Store, record: Record, timeouts: Timeouts | None) -> None:
    """Write unit and script according to the record. Without ``timeouts``, keep the timeout of a start."""
    paths, path = store.paths(record.name), names.service_path(record.name, record.realm)
    wanted = texts(store, record, timeouts)
    if written(store, record) == wanted and not record.unit_pending:
        return
    write_text(paths.service_script, wanted[0])  # First, for the unit. It contains the environment of conmon.
    make_directory(os.path.dirname(path), mode=0o755)
    leftovers.clear(os.path.dirname(path), re.escape(os.path.basename(path)))
    write_text(path, wanted[1], mode=0o644)
    with connect(_PROMPT) as bus:
        bus.reload()


def update(store: Store, record: Record, _timeouts: Timeouts) -> Record:
    """Make the unit, its script and its link for the boot match the record. The record is saved with ``unit_pending`` first, so the
    next task completes the update if this one is killed. Return the saved record."""
    record = store.save(record.replace(unit_pending=True))
    write(store, record, None)
    if record.phase in (Phase.STARTING, Phase.RUNNING) and not is_enabled(record):
        with connect(_PROMPT) as bus:
            bus.enable(names.service_unit(record.name, record.realm))
    return store.save(record.replace(unit_pending=False))


def start(store: Store, record: Record, timeouts: Timeouts) -> tuple[Record, list[str]]:
    """Start the service, now and at boot, or wait for a start that systemd has begun. Return its record, and no
    warnings. Raises ProgramFailed with the messages of runtime and conmon; the service is then stopped and disabled."""
    unit, paths = names.service_unit(record.name, record.realm), store.paths(record.name)
    with connect(start_seconds(record, timeouts) + record.stop_timeout + 2 * MARGIN) as bus:
        record = store.save(record.replace(phase=Phase.STARTING))  # Before systemd is told.
        write(store, record, timeouts)  # A removal that was killed may have taken the unit away already.
        bus.enable(unit)
        result = bus.wait_for_job(bus.begin_job("StartUnit", unit))
        now = _begun(record, paths, Deadline(timeouts.create))
        if result != "done" or os.path.exists(failed_mark(paths)):
            words = rollback.last_words(paths, record)
            unconnected = words["network_log"][-1:] if not os.path.exists(paths.network_pidfile) else []
            said = "".join(unconnected) or error_in(paths.runtime_log) or " ".join(words["conmon_log"][-3:])
            if not said and record.definition.sdnotify == "container":
                said = f"it did not report that it is ready (READY=1), the job of systemd has the result {result}"
            bus.disable(unit)
            bus.wait_for_job(bus.begin_job("StopUnit", unit))
            bus.reset_failed(unit)
            store.save(record.replace(phase=Phase.CREATED))
            needs = "a unit that it needs, such as a mount, cannot be started"
            reason = (
                needs if result == "dependency" else (said or f"the job of systemd has the result {result}").rstrip(".")
            )
            raise ProgramFailed(
                f"Cannot start the container {record.name}: {reason}.",
                hint=f"See journalctl --{'user-' if os.geteuid() else ''}unit {unit}", **words,
            )  # fmt: skip
    # A short run may have ended by now; its exit is recorded.
    return store.save(now.replace(phase=Phase.RUNNING, boot=boot_id(), started_at=now.started_at or timestamp())), []


def _begun(record: Record, paths: Paths, deadline: Deadline) -> Record:
    """Wait until the script has started a created container, or has failed. Return the record with its processes."""
    while True:
        record = with_service_processes(record, paths)
        waits = is_alive(record.init) and live_status(record) is Status.CREATED
        if not waits or os.path.exists(failed_mark(paths)) or not deadline.remaining():
            return record
        wait_readable((), deadline.at_most(0.01))


def stop(
    store: Store, lock: Lock, record: Record, *, number: int, timeouts: Timeouts
) -> tuple[StopReport, Record | None]:
    """Stop the service with systemd, with these settings in the script. It does not start at boot any more."""
    began, unit, paths = time.monotonic(), names.service_unit(record.name, record.realm), store.paths(record.name)
    grace = record.stop_timeout if timeouts.stop is None else timeouts.stop
    record = store.save(record.replace(phase=Phase.STOPPING))  # Before the script and the job of systemd.
    write(store, record.replace(stop_signal=number, stop_timeout=grace), None)
    ended, now = True, still_stopping(store, record)
    with PidFd(record.init) as init:
        with connect(_PROMPT) as bus:
            bus.disable(unit)
        if os.path.isdir(paths.exec):
            with _unlocked(lock, timeouts):
                end_sessions(paths, grace, timeouts.kill)
            now = still_stopping(store, record)
        if now is not None:
            with connect(grace + timeouts.kill + _PROMPT) as bus:
                job = bus.begin_job("StopUnit", unit)
                if record.init is None:  # During a start: no process has begun its work.
                    bus.kill(unit)
                elif (
                    init.fd is None
                ):  # Between two starts. Stops are first: the start of a scope waits for this one, the script for that.
                    bus.end_start(unit)
                with _unlocked(lock, timeouts):
                    with stop_starting.stop_sent(bus, unit, record, init, number if grace > 0 else 9):
                        ended = init.wait(Deadline(grace)) if grace > 0 else init.fd is None
                    bus.wait_for_job(job)
            now = still_stopping(store, record)
        if now is not None:  # Else unit and scope may be those of the next container.
            with connect(_PROMPT) as bus:  # It may have taken long to get the lock back.
                bus.reset_failed(unit)
                if (
                    init.fd is None
                ):  # Perhaps stopped during a start: any processes of it, and a scope that was not made.
                    scope = names.container_unit(record.name, record.realm)
                    bus.stop_unit(scope)
                    bus.reset_failed(scope)
            kill_all(record, init, Deadline(timeouts.kill))
            collect_exit(record, paths, Deadline(EXIT_FILE_SECONDS))
            now = store.save(now.replace(phase=Phase.STOPPED))
            write(store, now, None)  # with its own stop settings again
    used = signal_name(number) if ended or grace > 0 else "KILL"
    return StopReport(signal=used, killed=not ended, waited=round(time.monotonic() - began, 3)), now


@contextlib.contextmanager
def _unlocked(lock: Lock, timeouts: Timeouts) -> t.Iterator[None]:
    """Release the lock of the container for the block, so that other tasks can take it."""
    lock.release()
    try:
        yield
    finally:
        lock.acquire(Deadline(timeouts.create))


def delete(store: Store, host: Host, before: Observed, record: Record | None, timeouts: Timeouts) -> Record | None:
    """Remove the unit, then the container like any other. Without a record, raises Conflict for a foreign unit."""
    name, paths, realm = before.name, store.paths(before.name), record.realm if record else store.realm
    if record is None:
        check_unit(orphans(store, host, name)[0], paths)
    if record is None or has_unit(record, paths):
        remove_unit(name, realm)
        remove_file(paths.service_script)  # The environment of conmon is in it.
    directory, unit = os.path.split(names.service_path(name, realm))
    leftovers.clear(directory, re.escape(unit))
    return delete_container(store, host, before, record, timeouts)


def remove_unit(name: str, realm: str) -> None:
    """Stop the service and remove its unit."""
    unit, path = names.service_unit(name, realm), names.service_path(name, realm)
    with connect(_PROMPT) as bus:
        # The container has ended. This stops its restart, and processes that only systemd knows.
        with contextlib.suppress(DeadlineExceeded):
            job = bus.begin_job("StopUnit", unit)
            bus.end_start(unit)
            bus.wait_for_job(job)
        bus.disable(unit)
        remove_file(path)
        bus.reload()
        bus.reset_failed(unit)


class _Bus(stop_starting.Bus):
    """A connection with the calls that only services need."""

    def enable(self, unit: str) -> None:
        """Start the unit at boot, according to its [Install] section."""
        self.call("EnableUnitFiles", "asbb", 1, unit, 0, 1)
        self.reload()

    def disable(self, unit: str) -> None:
        with systemd.nothing_if_unknown():
            self.call("DisableUnitFiles", "asb", 1, unit, 0)
        self.reload()

    def reset_failed(self, unit: str) -> None:
        """Reset the failed state and the counter of starts."""
        with systemd.nothing_if_unknown():
            self.call("ResetFailedUnit", "s", unit)

    def reload(self) -> None:
        """Reload all unit files."""
        self.call("Reload", "")


def connect(seconds: float) -> _Bus:
    """Connect to the systemd of this user."""
    return _Bus(user=os.geteuid() != 0, deadline=Deadline(seconds))
