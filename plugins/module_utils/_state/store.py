# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of containers on disk: their paths, the records, and claims on bundles.

The state directory is durable and the run directory is volatile. They are two file systems on purpose: if the state directory is
full or read-only, conmon can still write the exit code to the other.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pwd
import re
import typing as t

from .._base.deadline import Deadline
from .._base.errors import Conflict, InvalidOption, LongshoreError
from .._base.files import lock_file, make_directory, read_json, remove_file, remove_tree, write_text
from .model import RECORD_FORMAT, Record
from .phase import Phase

if t.TYPE_CHECKING:
    from .lock import Lock

# The files in the state directory of a container that the next container of this name inherits.
CHECKPOINTS, LOG = "checkpoints", "container.log"

# A record with these phases leads to more room on the disk.
_FREES_ROOM = (Phase.STOPPING, Phase.STOPPED, Phase.REMOVED)

# Both runc and crun accept this as an id, except a leading "-", which is an option on the command line.
_NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]*")


def check_name(name: str) -> None:
    # The limit is that of a unit's name (255) without Longshore's additions. "+" is four characters there.
    if not _NAME.fullmatch(name) or len(name) + 3 * name.count("+") > 200:
        hint = "Use letters, digits, '_', '+', '-' and '.', at most 200 of them, with no '-' or '.' at the beginning."
        raise InvalidOption(f"{name!r} cannot be the name of a container.", hint=hint)


class Paths:
    """All paths of one container. ``state`` is durable, ``run`` is volatile."""

    def __init__(self, name: str, *, state_dir: str, run_dir: str) -> None:
        self.name = name
        self.state = f"{state_dir}/containers/{name}"
        self.run = f"{run_dir}/containers/{name}"
        self.lock = lock_file(run_dir, name)
        self.record = f"{self.state}/record.json"
        self.config = f"{self.state}/config.json"
        self.log = f"{self.state}/{LOG}"
        self.persist = f"{self.state}/persist"
        self.service_script = f"{self.state}/service.sh"
        self.bundle = f"{self.run}/bundle"
        self.exits = f"{self.run}/exits"
        self.pidfile = f"{self.run}/pid"
        self.conmon_pidfile = f"{self.run}/conmon.pid"
        self.runtime_log = f"{self.run}/runtime.log"
        self.conmon_log = f"{self.run}/conmon.log"
        self.staged_root = f"{self.run}/rootfs"
        self.notify = f"{self.bundle}/notify"
        self.ready_socket = f"{self.run}/ready.sock"
        self.owner = f"{self.run}/state"
        self.exec = f"{self.run}/exec"
        self.namespaces = f"{self.run}/ns"
        self.network_log = f"{self.run}/network.log"
        self.network_pidfile = f"{self.run}/network.pid"
        self.network_socket = f"{self.run}/network.sock"
        self.network_asks = f"{self.run}/network.asks"
        self.network_answer = f"{self.run}/network.answer"


class Store:
    """The containers of one state directory and one run directory. The constructor does no I/O."""

    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        self.state_dir = state_dir
        self.run_dir = run_dir
        # By name, records that a full disk did not take, and the ones that it has instead.
        self._unsaved: dict[str, tuple[Record | None, Record]] = {}

    @functools.cached_property
    def realm(self) -> str:
        """Return the part of names on the host that identifies the state directory. Empty for the default one."""
        home = "/var/lib" if os.geteuid() == 0 else f"{pwd.getpwuid(os.geteuid()).pw_dir}/.local/state"
        path = os.path.normpath(self.state_dir)
        return "" if path == f"{home}/longshore" else hashlib.sha256(os.fsencode(path)).hexdigest()[:8]

    def paths(self, name: str) -> Paths:
        return Paths(name, state_dir=self.state_dir, run_dir=self.run_dir)

    def names(self) -> list[str]:
        """Return the sorted names of containers with a record that this release can read."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(f"{self.state_dir}/containers"):
                with contextlib.suppress(LongshoreError):
                    found += [name] if self.load(name) else []
        return sorted(found)

    def load(self, name: str) -> Record | None:
        """Return the record, or None if it does not exist or is damaged."""
        record = self._load(name)
        known, unsaved = self._unsaved.get(name, (None, None))
        return unsaved if record and record == known else record

    def _load(self, name: str) -> Record | None:
        value = read_json(self.paths(name).record)
        if value is None:
            return None
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            if value.get("format") == RECORD_FORMAT:
                return Record.from_json(value)
        from .newer_release import check_record

        check_record(name, value)
        return None

    def save(self, record: Record) -> Record:
        """Save and return the record. On a full disk, a container can still be stopped and removed: then the record is kept in memory,
        as long as no other task saves one."""
        try:
            write_text(self.paths(record.name).record, json.dumps(record.to_json()))
        except LongshoreError:
            if record.phase not in _FREES_ROOM:
                raise
            self._unsaved[record.name] = (self._load(record.name), record)
        return record

    def load_config(self, name: str) -> dict[str, t.Any] | None:
        return read_json(self.paths(name).config)

    def forget(self, name: str, *, but: t.Sequence[str] = ()) -> None:
        """Remove all durable files except some names. The record first, because without it nothing else counts, then claims, also
        that of a former bundle from a killed task. The directory goes last: it shows the next task that something is left."""
        remove_file(self.paths(name).record)
        claims = f"{self.state_dir}/bundles"
        with contextlib.suppress(FileNotFoundError):
            for path in [f"{claims}/{key}" for key in os.listdir(claims)]:
                if link(path) == name:
                    remove_file(path)
        top = self.paths(name).state
        names = os.listdir(top) if any(os.path.lexists(f"{top}/{each}") for each in but) else []
        for path in [f"{top}/{each}" for each in names if each not in but]:
            remove_tree(path) if os.path.isdir(path) and not os.path.islink(path) else remove_file(path)
        if not names:
            remove_tree(top)

    @contextlib.contextmanager
    def locked(self, name: str, deadline: Deadline, what: str = "") -> t.Iterator[Lock]:
        from .lock import Lock

        lock = Lock(self.paths(name).lock, name, what)
        lock.acquire(deadline)
        try:
            if lock.abandoned:
                from .abandoned import end_programs

                end_programs(self.load(name), self.paths(name).runtime_log)
            yield lock
        finally:
            lock.release()

    def claim_bundle(self, bundle: str, name: str) -> None:
        """Reserve a bundle for a container whose record is saved. Raises Conflict if another container has it."""
        path = self._claim(bundle)
        make_directory(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            return os.symlink(name, path)
        # Replacing a link needs a lock, with a name that no container can have. It is held only for a moment.
        with self.locked(".bundles", Deadline(10)):
            while True:
                self.check_bundle(bundle, name)
                remove_file(path)  # A claim of this container, or of a killed task.
                with contextlib.suppress(FileExistsError):
                    return os.symlink(name, path)

    def check_bundle(self, bundle: str, name: str) -> None:
        """Raises Conflict if another container has the bundle."""
        record = self.bundle_holder(bundle)
        if record is not None and record.name != name:
            hint = "Containers cannot share a root file system. Create a bundle for each container."
            raise Conflict(f"The bundle {bundle} is in use by the container {record.name}.", hint=hint)

    def bundle_holder(self, bundle: str) -> Record | None:
        """Return the record of the container that has the bundle, or None."""
        holder = link(self._claim(bundle))
        record = self.load(holder) if holder else None
        return record if record and self._claim(record.definition.bundle) == self._claim(bundle) else None

    def release_bundle(self, bundle: str, name: str) -> None:
        """Remove the claim of a container, unless its saved record has this bundle, maybe by another spelling of its path."""
        holder = self.bundle_holder(bundle)
        if link(self._claim(bundle)) == name and not (holder and holder.name == name):
            remove_file(self._claim(bundle))

    def _claim(self, bundle: str) -> str:
        key = hashlib.sha256(os.fsencode(os.path.realpath(bundle))).hexdigest()[:32]
        return f"{self.state_dir}/bundles/{key}"


def link(path: str) -> str | None:
    """Return the target of a symbolic link, or None if it does not exist."""
    try:
        return os.readlink(path)
    except OSError:
        return None
