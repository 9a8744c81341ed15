# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Going on where a task was killed in a checkpoint or restore: under the lock, before anything else is decided.

A dump that came to its end is a checkpoint, any other is none, and its container goes on. A container that was restored in spite
of all runs: it is not restored a second time, from an old memory and with files that it has changed since.
"""

from __future__ import annotations

import contextlib
import json
import os

from .._base.deadline import IN_CLOSE, IN_MOVED_TO, Deadline, wait_until
from .._base.errors import ProgramFailed
from .._base.files import read_json, remove_file, remove_tree, write_text
from .._base.process import Handle, ProcessId, identify, in_pid_file, is_alive, kill_and_wait
from .._base.program import find_program
from .._container import interrupted, sweep
from .._container.observe import exit_file, timestamp
from .._host.cgroup import members, thaw
from .._state import config, unfinished
from .._state.conmon_processes import find_conmons, runs
from .._state.model import Checkpoint, Record, Status, Timeouts
from .._state.store import Paths, Store

_RESTORE_SECONDS = 60.0  # at most, for a restore that goes on by itself


def recover(store: Store, name: str, timeouts: Timeouts) -> Record | None:
    """Finish, or clear away, what a task that was killed had begun; returns the record as it is then."""
    record = store.load(name)
    checkpoint = record.checkpoint if record else None
    if record is not None and checkpoint is not None:
        if record.phase == "checkpointing":
            record = _dumped(store, record, checkpoint, timeouts)
        elif record.phase == "restoring":
            record = _restored(store, record, timeouts)
        elif record.phase == "checkpointed":
            complete(checkpoint.path)
        if record.phase not in ("checkpointing", "checkpointed", "restoring"):
            record = used_up(store, record)
    clear_unfinished(store, name, record)
    return record


def used_up(store: Store, record: Record) -> Record:
    """Remove the checkpoint that a container was restored from. It runs, and the record says so."""
    if record.checkpoint is None:
        return record
    unfinished.discard(record.checkpoint.path)
    return store.save(record.replace(checkpoint=None))


def clear_unfinished(store: Store, name: str, record: Record | None) -> None:
    """Remove what dead tasks have left, and the directories that are empty then."""
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
    """Remove what a note names, and the note. What it names was made by the task of the note: their names end alike."""
    named = (read_json(path) or {}).get("path")
    words = os.path.basename(path)[len(unfinished.NOTE) :]
    if isinstance(named, str) and named.startswith("/") and named.endswith(f".{words}"):
        with contextlib.suppress(OSError):
            os.unlink(named)
    remove_file(path)


def complete(path: str) -> None:
    """Make a checkpoint of a dump that came to its end."""
    pending = unfinished.pending(path)
    pending.pop("paused", None)
    if pending and not os.path.exists(f"{path}/{unfinished.MANIFEST}"):
        write_text(f"{path}/{unfinished.MANIFEST}", json.dumps(pending))
    remove_file(f"{path}/{unfinished.PENDING}")


def settle(store: Store, record: Record, timeouts: Timeouts) -> Record:
    """What comes after a dump that has ended the container: clear away what is left of it, but for record and log.

    The 137 that conmon has written is no exit of the container: it goes with the rest.
    """
    sweep.delete_state(store, record, timeouts)
    remove_tree(store.paths(record.name).persist)
    none: dict[str, None] = {"init": None, "monitor": None, "cgroup_path": None, "conmon_cgroup_path": None}
    return store.save(record.replace(phase="checkpointed", last_exit=None, **none))


def _dumped(store: Store, record: Record, checkpoint: Checkpoint, timeouts: Timeouts) -> Record:
    path = checkpoint.path
    if is_alive(record.init):
        was_paused = unfinished.pending(path).get("paused")
        release(record, path, Status.PAUSED if was_paused else Status.RUNNING, timeouts)
    if not is_alive(record.init) and unfinished.has_ended(path):
        complete(path)
        return settle(store, record, timeouts)
    # With a manifest it is a whole checkpoint of a container that was to go on. The one before it is replaced.
    whole = os.path.exists(f"{path}/{unfinished.MANIFEST}")
    record = store.save(record.replace(phase="running", checkpoint=None))
    top = os.path.dirname(path)
    for other in os.listdir(top) if whole else []:
        if f"{top}/{other}" != path and not other.startswith("."):
            unfinished.discard(f"{top}/{other}")
    return record


def release(record: Record, path: str, status: Status, timeouts: Timeouts) -> None:
    """End what is still at work on a dump, and thaw what it has frozen. A tracer that dies lets go of whom it holds."""
    # CRIU gives its log to the very processes that it looks at, while it is in them.
    own = {record.init, *members(record.cgroup_path)}
    kill_and_wait([process for process in _at_work(record, path) if process not in own], Deadline(timeouts.kill))
    if status is Status.RUNNING:
        thaw(record.cgroup_path)


def _at_work(record: Record, path: str) -> list[ProcessId]:
    """Runtime and CRIU, which has nothing in its command line, with something open in the directory of a dump. Others may
    read its log."""
    found, criu = [], find_program("criu")
    programs = [record.runtime.path, *([criu] if criu else [])]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # It has ended just now.
            opened = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
            inside = any(f"{name}/".startswith(f"{path}/") for name in opened)
            if inside and any(runs(int(pid), each) for each in programs):
                found.append(identify(int(pid)))
    return [process for process in found if process is not None]


def _restored(store: Store, record: Record, timeouts: Timeouts) -> Record:
    """conmon goes on with a restore when its task is killed. It is let, and what comes of it is what there is."""
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
        return store.save(_as_launched(record, settings))  # It has run, and has ended since.
    return _take_back(store, record, timeouts)


def _as_launched(record: Record, settings: config.Config) -> Record:
    """The record as create() leaves it."""
    kept = record.checkpoint if record.checkpoint and record.checkpoint.once else None
    return record.replace(
        phase="running", checkpoint=kept, config_digest=config.digest(settings), created_at=timestamp()
    )  # fmt: skip


def _can_be_taken_over(record: Record, settings: config.Config) -> bool:
    """Whether all that a launch does afterwards can still be done: not the connection of its network, and the namespaces of others
    are known by a process that is gone."""
    shared = any(each.get("path") for each in (settings.get("linux") or {}).get("namespaces") or [])
    return bool(settings) and record.definition.network_helper == "none" and not shared


def _take_back(store: Store, record: Record, timeouts: Timeouts) -> Record:
    """Nothing of it runs: the checkpoint is what there is."""
    sweep.delete_state(store, record, timeouts)
    return store.save(record.replace(phase="checkpointed"))


def _wait(record: Record, paths: Paths) -> None:
    """Wait until a conmon that is still at it has restored the container or has given up, and has written its exit code if that has
    ended since."""

    def settled() -> bool:
        init = in_pid_file(paths.pidfile)
        return os.path.exists(paths.pidfile) and (is_alive(init) or exit_file(record, paths) is not None)

    for monitor in find_conmons(record.conmon, paths.pidfile.__eq__)[:1]:
        with Handle(monitor) as handle:
            if handle.fd is None or not os.path.isdir(paths.exits):
                continue
            deadline, until = Deadline(_RESTORE_SECONDS), [handle.fd]
            mask = IN_MOVED_TO | IN_CLOSE
            if wait_until(lambda: os.path.exists(paths.pidfile), deadline, path=paths.run, mask=mask, until=until):
                wait_until(settled, deadline.at_most(5), path=paths.exits, mask=mask, until=until)
