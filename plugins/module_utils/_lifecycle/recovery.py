# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete or undo a checkpoint or restore of a killed task, under the lock, before any other decision.

A complete dump is a checkpoint. An incomplete one is removed, and its container continues. If the restore of a killed task was
completed, the container runs: it is not restored a second time, with old memory and with files that it has changed since.
"""

from __future__ import annotations

import contextlib
import json
import os

from .._base.deadline import Deadline
from .._base.errors import ProgramFailed
from .._base.files import read_json, remove_file, remove_tree, write_text
from .._base.inotify import IN_CLOSE, IN_MOVED_TO, wait_until
from .._base.pidfd import PidFd, kill_and_wait
from .._base.process import ProcessId, identify, in_pid_file, is_alive
from .._base.program import find_program
from .._config import config
from .._config.namespaces import namespaces_of
from .._conmon.exit_files import exit_file
from .._container import interrupted, sweep
from .._host.cgroup_removal import members, thaw
from .._ports import packet_lock
from .._state import unfinished
from .._state.conmon_processes import find_conmons, runs
from .._state.model import Checkpoint, NetworkHelper, Record, Status, Timeouts
from .._state.phase import Phase
from .._state.store import Paths, Store
from .._state.timestamps import timestamp

_RESTORE_SECONDS = 60.0  # limit for a restore that continues without its task


def recover(store: Store, name: str, timeouts: Timeouts) -> Record | None:
    """Complete or undo the work of a killed task. Return the new record."""
    record = store.load(name)
    checkpoint = record.checkpoint if record else None
    if record is not None and checkpoint is not None:
        if record.phase is Phase.CHECKPOINTING:
            record = _dumped(store, record, checkpoint, timeouts)
        elif record.phase is Phase.RESTORING:
            record = _restored(store, record, timeouts)
        elif record.phase is Phase.CHECKPOINTED:
            complete(checkpoint.path)
        if record.phase not in (Phase.CHECKPOINTING, Phase.CHECKPOINTED, Phase.RESTORING):
            record = used_up(store, record)
    clear_unfinished(store, name, record)
    return record


def used_up(store: Store, record: Record) -> Record:
    """Remove the checkpoint from which a container was restored. It runs, and the record says so."""
    if record.checkpoint is None:
        return record
    unfinished.discard(record.checkpoint.path)
    return store.save(record.replace(checkpoint=None))


def clear_unfinished(store: Store, name: str, record: Record | None) -> None:
    """Remove the leftovers of ended tasks, and empty directories."""
    paths = store.paths(name)
    for path in unfinished.left(paths, record):
        if os.path.basename(path).startswith(unfinished.NOTE):
            forget_note(path)
        else:
            unfinished.discard(path)
    with contextlib.suppress(OSError):
        os.rmdir(f"{paths.state}/checkpoints")
        if record is None:
            os.rmdir(paths.state)


def forget_note(path: str) -> None:
    """Remove the file in a note, and the note. Both belong to the same task, because their names have the same suffix."""
    named = (read_json(path) or {}).get("path")
    words = os.path.basename(path)[len(unfinished.NOTE) :]
    if isinstance(named, str) and named.startswith("/") and named.endswith(f".{words}"):
        with contextlib.suppress(OSError):
            os.unlink(named)
    remove_file(path)


def complete(path: str) -> None:
    """Turn a complete dump into a checkpoint."""
    pending = unfinished.pending(path)
    pending.pop("paused", None)
    if pending and not os.path.exists(f"{path}/{unfinished.MANIFEST}"):
        write_text(f"{path}/{unfinished.MANIFEST}", json.dumps(pending))
    remove_file(f"{path}/{unfinished.PENDING}")


def settle(store: Store, record: Record, timeouts: Timeouts) -> Record:
    """Remove the rest of a container that a dump has ended, except record and log.

    The exit code 137 of conmon is not an exit of the container, so it is removed too.
    """
    sweep.delete_state(store, record, timeouts)
    remove_tree(store.paths(record.name).persist)
    none: dict[str, None] = {"init": None, "monitor": None, "cgroup_path": None, "conmon_cgroup_path": None}
    return store.save(record.replace(phase=Phase.CHECKPOINTED, last_exit=None, **none))


def _dumped(store: Store, record: Record, checkpoint: Checkpoint, timeouts: Timeouts) -> Record:
    path = checkpoint.path
    if is_alive(record.init):
        was_paused = unfinished.pending(path).get("paused")
        release(record, path, Status.PAUSED if was_paused else Status.RUNNING, timeouts)
    if not is_alive(record.init) and unfinished.has_ended(path):
        complete(path)
        return settle(store, record, timeouts)
    packet_lock.release(store, record)  # CRIU was killed with its task.
    # With a manifest, it is a complete checkpoint of a container that continues. It replaces the earlier one.
    whole = os.path.exists(f"{path}/{unfinished.MANIFEST}")
    record = store.save(record.replace(phase=Phase.RUNNING, checkpoint=None))
    top = os.path.dirname(path)
    for other in os.listdir(top) if whole else []:
        if f"{top}/{other}" != path and not other.startswith("."):
            unfinished.discard(f"{top}/{other}")
    return record


def release(record: Record, path: str, status: Status, timeouts: Timeouts) -> None:
    """End the processes of a dump, and thaw the container. The end of a tracer releases its processes."""
    # During a dump, the dumped processes also have the log of CRIU open.
    own = {record.init, *members(record.cgroup_path)}
    kill_and_wait([process for process in _at_work(record, path) if process not in own], Deadline(timeouts.kill))
    if status is Status.RUNNING:
        thaw(record.cgroup_path)


def _at_work(record: Record, path: str) -> list[ProcessId]:
    """Return runtime and CRIU with open files in the directory of a dump. The command line of CRIU shows nothing. Other processes
    may read its log."""
    found, criu = [], find_program("criu")
    programs = [record.runtime.path, *([criu] if criu else [])]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # It has just ended.
            opened = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
            inside = any(f"{name}/".startswith(f"{path}/") for name in opened)
            if inside and any(runs(int(pid), each) for each in programs):
                found.append(identify(int(pid)))
    return [process for process in found if process is not None]


def _restored(store: Store, record: Record, timeouts: Timeouts) -> Record:
    """Wait for a restore that conmon continues after its task was killed, and return the resulting record."""
    paths = store.paths(record.name)
    _wait(record, paths)
    settings = store.load_config(record.name) or {}
    now = interrupted.restored(record, paths) if _can_be_taken_over(record, settings) else None
    if now is not None and now.init is not None and now.monitor is not None:
        from .._container import restored_limits

        try:
            restored_limits.check(record.name, now.init.pid, settings)
        except ProgramFailed:
            _take_back(store, record, timeouts)
            raise
        restored_limits.release(now.monitor.pid, settings)
        return store.save(_as_launched(now, settings))
    if os.path.exists(paths.pidfile) and exit_file(record, paths):
        return store.save(_as_launched(record, settings))  # It has run and has ended.
    return _take_back(store, record, timeouts)


def _as_launched(record: Record, settings: config.Config) -> Record:
    """Return the record as create() does."""
    kept = record.checkpoint if record.checkpoint and record.checkpoint.once else None
    return record.replace(
        phase=Phase.RUNNING, checkpoint=kept, config_digest=config.digest(settings), created_at=timestamp()
    )  # fmt: skip


def _can_be_taken_over(record: Record, settings: config.Config) -> bool:
    """Tell whether the rest of a launch can still be done. This is not possible for a network helper and for namespaces of other
    containers, whose descriptors have ended with the task."""
    shared = any(namespaces_of(settings).values())
    return bool(settings) and record.definition.network_helper is NetworkHelper.NONE and not shared


def _take_back(store: Store, record: Record, timeouts: Timeouts) -> Record:
    """Return to the checkpoint, because nothing of the container runs."""
    sweep.delete_state(store, record, timeouts)
    return store.save(record.replace(phase=Phase.CHECKPOINTED))


def _wait(record: Record, paths: Paths) -> None:
    """Wait until a running conmon has restored the container or has failed, and has written the exit code if the container has
    ended."""

    def settled() -> bool:
        init = in_pid_file(paths.pidfile)
        return os.path.exists(paths.pidfile) and (is_alive(init) or exit_file(record, paths) is not None)

    for monitor in find_conmons(record.conmon, paths.pidfile.__eq__)[:1]:
        with PidFd(monitor) as pidfd:
            if pidfd.fd is None or not os.path.isdir(paths.exits):
                continue
            deadline, until = Deadline(_RESTORE_SECONDS), [pidfd.fd]
            mask = IN_MOVED_TO | IN_CLOSE
            if wait_until(lambda: os.path.exists(paths.pidfile), deadline, path=paths.run, mask=mask, until=until):
                wait_until(settled, deadline.at_most(5), path=paths.exits, mask=mask, until=until)
