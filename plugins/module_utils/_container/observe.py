# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe the current state of a container, from files alone, without starting a process.

It merges four sources: the record, the state directory of the runtime (the files that ``runc state`` and ``crun state`` read),
the exit file of conmon, and the recorded processes.
"""

from __future__ import annotations

import os
import typing as t

from .._base.deadline import IN_MOVED_TO, Deadline, wait_until
from .._base.files import read_text
from .._base.process import Handle, boot_id, in_pid_file, is_alive, parent_of
from .._base.timestamps import timestamp
from .._host import cgroup
from .._state import names
from .._state.model import Exit, Observed, Record, Status
from .._state.store import Paths, Store, link

# Seconds for conmon from the end of the container to its exit file, and then to its own end.
EXIT_FILE_SECONDS = 5.0


def observe(store: Store, name: str) -> Observed:
    """Return the state. Wait at most five seconds for conmon to write the exit code of a container that has just ended."""
    record, paths = store.load(name), store.paths(name)
    elsewhere = record and os.path.dirname(record.runtime_root) != store.run_dir
    if elsewhere or (link(paths.owner) != paths.state and os.path.lexists(paths.run)):
        from .ownership import check_run

        check_run(store, name, record)
    seen = _observe(store, name, record)
    if (record is not None and record.checkpoint) or os.path.isdir(f"{paths.state}/checkpoints"):
        from .._state.unfinished import is_unfinished

        seen = seen._replace(unfinished=is_unfinished(paths, record))
    return seen


def _observe(store: Store, name: str, record: Record | None) -> Observed:
    paths = store.paths(name)
    if record is None:
        return Observed(name, Status.ABSENT, leftovers=bool(leftovers(store, name)))
    if record.phase == "creating":
        return Observed(name, Status.ABSENT, record, leftovers=True)
    if record.phase == "removed":
        return Observed(name, Status.STOPPED, record, exit=record.last_exit)
    if record.definition.service:
        record = as_systemd_has_it(record, paths)
        if record.phase in ("created", "starting") and not is_alive(record.init) and not exit_file(record, paths):
            return Observed(name, Status.CREATED, record)
    if record.phase == "checkpointed":
        return Observed(name, Status.CHECKPOINTED, record)
    if is_alive(record.init):
        disconnected = record.definition.network_helper != "none" and not is_alive(record.helper)
        seen = Observed(name, live_status(record), record, is_alive(record.monitor), disconnected=disconnected)
        if seen.status is Status.PAUSED:
            from .frozen import look as look_at_frozen

            return look_at_frozen(seen)
        return seen

    def ended() -> Exit:
        return collect_exit(record, paths, Deadline(EXIT_FILE_SECONDS))

    if record.phase in ("checkpointing", "restoring"):
        from .interrupted import look

        return look(record, paths, ended, live_status)
    return Observed(name, Status.STOPPED, record, exit=ended())


def as_systemd_has_it(record: Record, paths: Paths) -> Record:
    """Return the record of a service with the processes of its latest start, which systemd may have done. Their pids are in the
    pid files of conmon. A process belongs to the container if it is in its scope."""
    init = in_pid_file(paths.pidfile)
    path = cgroup.path_of(init.pid) if init else None
    if init is None or init == record.init or f"/{names.container_unit(record.name, record.realm)}/" not in f"{path}/":
        return record
    monitor = in_pid_file(record.definition.conmon_pidfile or paths.conmon_pidfile)
    if monitor and parent_of(init.pid) != monitor.pid:
        monitor = None  # It was killed, and another process may have its pid.
    conmon_path = cgroup.path_of(monitor.pid) if monitor else None
    helper = in_pid_file(paths.network_pidfile)
    return record.replace(
        phase=record.phase if record.phase in ("starting", "stopping") else "running", boot=init.boot, init=init, monitor=monitor,
        pidfile_before=None, cgroup_path=path, conmon_cgroup_path=conmon_path, started_at=timestamp(os.stat(paths.pidfile).st_mtime),
        last_exit=None, helper=helper if helper and cgroup.path_of(helper.pid) == conmon_path else None,
    )  # fmt: skip


def live_status(record: Record) -> Status:
    """Return the status of a live container. Both runtimes keep exec.fifo in the state directory until ``start``."""
    if os.path.exists(f"{record.runtime_root}/{record.runtime_id}/exec.fifo"):
        return Status.CREATED
    return Status.PAUSED if cgroup.is_frozen(record.cgroup_path) else Status.RUNNING


def leftovers(store: Store, name: str) -> list[str]:
    """Return the leftovers of a container without a record: a damaged record, or files in the run directory."""
    paths = store.paths(name)
    places = [paths.state, paths.run, names.service_path(name, store.realm)] + [
        f"{store.run_dir}/{root}/{name}" for root in ("crun", "runc")
    ]
    return [place for place in places if os.path.lexists(place)]


def collect_exit(record: Record, paths: Paths, deadline: Deadline) -> Exit:
    """Return how a container ended whose first process has ended.

    conmon writes the persist file, then renames the exit file into place. So watch the exit directory, and stop waiting when
    conmon ends. conmon uses the code -1 for a container that reached its time limit.
    """
    files = _exit_files(record, paths)
    with Handle(record.monitor) as monitor:
        # conmon ends right after it has written, unless it runs an exit command. Waiting for its end is faster: the kernel needs
        # about 10 ms to close an inotify descriptor.
        if written(files) is None and not monitor.wait(deadline.at_most(0.05)) and os.path.isdir(paths.exits):
            gone = [t.cast(int, monitor.fd)]
            wait_until(lambda: written(files) is not None, deadline, path=paths.exits, mask=IN_MOVED_TO, until=gone)
        monitored = monitor.fd is not None and not monitor.wait(Deadline(0))
    # conmon 2.1.6 creates the mark in its working directory, the bundle. Later versions use the persist directory.
    oom = any(os.path.exists(f"{place}/oom") for place in (paths.persist, paths.bundle))
    path = written(files)
    if path is None:
        if record.boot != boot_id():
            return Exit(None, "host-rebooted", None, oom)
        return Exit(None, "no-exit-file" if monitored else "monitor-lost", None, oom)
    code = int((read_text(path) or "").strip())
    finished = timestamp(os.stat(path).st_mtime)
    reason = "monitor-timeout" if code < 0 else "killed" if 128 < code <= 192 else "exited"
    return Exit(code if code >= 0 else None, reason, finished, oom)


def exit_file(record: Record, paths: Paths) -> str | None:
    """Return the path of the exit code of the latest run, or None."""
    return written(_exit_files(record, paths))


def _exit_files(record: Record, paths: Paths) -> tuple[str, str]:
    return f"{paths.exits}/{record.runtime_id}", f"{paths.persist}/exit"


def written(files: t.Iterable[str]) -> str | None:
    """Return the first file with a number. A full file system leaves empty files."""
    for path in files:
        if (read_text(path) or "").strip().lstrip("-").isdigit():
            return path
    return None


def describe(observed: Observed) -> dict[str, t.Any]:
    """Return a container as the modules do, with the same keys for every status."""
    record, end = observed.record, observed.exit
    alive = observed.status in (Status.CREATED, Status.RUNNING, Status.PAUSED)
    known = record if record is not None and observed.status is not Status.ABSENT else None
    return {
        "name": observed.name,
        "status": observed.status.value,
        "pid": known.init.pid if known and known.init and alive else None,
        "conmon_pid": known.monitor.pid if known and known.monitor and observed.monitored else None,
        "monitored": observed.monitored,
        "exit_code": end.code if end else None,
        "exit_reason": end.reason if end else None,
        "oom_killed": end.oom if end else False,
        "created_at": known.created_at if known else None,
        "started_at": known.started_at if known and observed.status is not Status.CREATED else None,
        "finished_at": end.finished_at if end else None,
        "bundle": known.definition.bundle if known else None,
        "config_digest": known.config_digest if known else None,
        "runtime": {**known.runtime._asdict(), "root": known.runtime_root} if known else None,
        "cgroup": {"manager": known.cgroup_manager, "path": known.cgroup_path, "conmon_path": known.conmon_cgroup_path}
        if known else None,
        "log": {"driver": known.definition.log_driver, "path": known.log_path} if known else None,
        "network": {
            "helper": known.definition.network_helper, "publish": list(known.definition.publish),
            "pid": known.helper.pid if known.helper and alive and not observed.disconnected else None,
        } if known else None,
        "service": names.service_unit(known.name, known.realm) if known and known.definition.service else None,
    }  # fmt: skip
