# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept about containers on disk: where, the record, the lock, and who uses a bundle.

The state directory is durable and the run directory volatile, on purpose two file systems: when one is full, conmon still
leaves the exit code in the other.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pwd
import re
import typing as t

from .container import RECORD_FORMAT, Record
from .errors import Conflict, EngineError, InvalidInput
from .files import lock_file, make_directory, read_json, remove_file, remove_tree, write_text
from .waiting import IN_CLOSE, Deadline, wait_until

# What runc and crun both take as an id, apart from a "-" in front: for both that is an option on the command line.
_NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]*")


# A lock needs a file, and there is no way to make one.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def check_name(name: str) -> None:
    # The length is that of a unit's name (255) without our additions; "+" is four characters there.
    if not _NAME.fullmatch(name) or len(name) + 3 * name.count("+") > 200:
        raise InvalidInput(
            f"{name!r} cannot be the name of a container.",
            hint="Use letters, digits, '_', '+', '-' and '.', no '-' or '.' first, at most 200 characters.",
        )


class Paths:
    """Every path of one container. ``state`` is durable, ``run`` volatile."""

    def __init__(self, name: str, *, state_dir: str, run_dir: str) -> None:
        self.name = name
        self.state = f"{state_dir}/containers/{name}"
        self.run = f"{run_dir}/containers/{name}"
        self.lock = lock_file(run_dir, name)
        self.record = f"{self.state}/record.json"
        self.config = f"{self.state}/config.json"
        self.log = f"{self.state}/container.log"
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
    """The containers of one pair of directories. Stores only; touches the disk when asked to."""

    def __init__(self, *, state_dir: str, run_dir: str) -> None:
        self.state_dir = state_dir
        self.run_dir = run_dir
        self.realm = _realm(state_dir)

    def paths(self, name: str) -> Paths:
        return Paths(name, state_dir=self.state_dir, run_dir=self.run_dir)

    def names(self) -> list[str]:
        """Containers that have a record, sorted. Damaged ones, and those of a newer release, are not among them."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(f"{self.state_dir}/containers"):
                with contextlib.suppress(EngineError):
                    found += [name] if self.load(name) else []
        return sorted(found)

    def load(self, name: str) -> Record | None:
        """None where there is none or it is damaged; then nothing of it can be believed."""
        value = read_json(self.paths(name).record)
        if value is None:
            return None
        if value.get("format") != RECORD_FORMAT:
            raise EngineError(
                f"The record of the container {name} has the format {value.get('format')}, this release knows {RECORD_FORMAT}.",
                hint="Use the newer release of longshore.oci that wrote it.",
            )
        try:
            return Record.from_json(value)
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    def save(self, record: Record) -> Record:
        write_text(self.paths(record.name).record, json.dumps(record.to_json()))
        return record

    def load_config(self, name: str) -> dict[str, t.Any] | None:
        return read_json(self.paths(name).config)

    def forget(self, name: str) -> None:
        """Remove all that is kept durably. Claims go first, also that of a former bundle which a killed task has left; then the
        record: without it nothing else counts."""
        claims = f"{self.state_dir}/bundles"
        with contextlib.suppress(FileNotFoundError):
            for path in [f"{claims}/{key}" for key in os.listdir(claims)]:
                if link(path) == name:
                    remove_file(path)
        remove_file(self.paths(name).record)
        remove_tree(self.paths(name).state)

    @contextlib.contextmanager
    def locked(self, name: str, deadline: Deadline, what: str = "") -> t.Iterator[Lock]:
        lock = Lock(self.paths(name).lock, name, what)
        lock.acquire(deadline)
        try:
            yield lock
        finally:
            lock.release()

    def claim_bundle(self, bundle: str, name: str) -> None:
        """Reserve a bundle for a container whose record is saved. Raises Conflict where another container has it."""
        path = self._claim(bundle)
        make_directory(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            return os.symlink(name, path)
        # To replace a link takes a lock, whose name no container can have; held for a moment only.
        with self.locked(".bundles", Deadline(10)):
            while True:
                self.check_bundle(bundle, name)
                remove_file(path)  # Ours, or left by a run that was killed.
                with contextlib.suppress(FileExistsError):
                    return os.symlink(name, path)

    def check_bundle(self, bundle: str, name: str) -> None:
        """Raises Conflict where another container has the bundle."""
        record = self.bundle_holder(bundle)
        if record is not None and record.name != name:
            raise Conflict(
                f"The bundle {bundle} is in use by the container {record.name}.",
                hint="Two containers cannot share one root file system; make a bundle for each.",
            )

    def bundle_holder(self, bundle: str) -> Record | None:
        """The container that has the bundle."""
        holder = link(self._claim(bundle))
        record = self.load(holder) if holder else None
        return record if record and self._claim(record.definition.bundle) == self._claim(bundle) else None

    def release_bundle(self, bundle: str, name: str) -> None:
        if link(self._claim(bundle)) == name:
            remove_file(self._claim(bundle))

    def _claim(self, bundle: str) -> str:
        key = hashlib.sha256(os.path.realpath(bundle).encode()).hexdigest()[:32]
        return f"{self.state_dir}/bundles/{key}"


def link(path: str) -> str | None:
    """Where a symbolic link leads; None for none."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def _realm(state_dir: str) -> str:
    """What names of the host have of a state directory, so that those of two are never the same. Nothing for the default."""
    home = "/var/lib" if os.geteuid() == 0 else f"{pwd.getpwuid(os.geteuid()).pw_dir}/.local/state"
    path = os.path.normpath(state_dir)
    return "" if path == f"{home}/longshore" else hashlib.sha256(path.encode()).hexdigest()[:8]


class Lock:
    """An flock on a file of its own, which vanishes with the last user. Not held while a container stops gracefully.

    Where no file can be made (the run directory is full or read-only), the directory of the locks is locked instead, which
    is why every holder of a file shares that. flock has no timeout, so a waiter watches what it waits for: the holder
    closes it in the end, and that is an event.
    """

    def __init__(self, path: str, name: str, what: str = "") -> None:
        self._path = path
        self._what = what or f"the container {name}"
        self._held: tuple[int, ...] = ()  # the file, if there is one, and the directory
        self.abandoned = False  # The last holder was killed: it did not remove the file.

    @property
    def descriptors(self) -> tuple[int, ...]:
        """For a program that outlives this task when it is killed: it has the lock as long as it has these."""
        return self._held

    def acquire(self, deadline: Deadline) -> None:
        """Raises Conflict, with who has it, at the deadline."""
        if self._held:
            return
        top = os.path.dirname(self._path)
        make_directory(top)
        opened = [os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
        try:
            self._take(opened[0], deadline, fcntl.LOCK_SH)
            while not self._take_file(opened, deadline):
                os.close(opened.pop())
            self._held, opened = tuple(reversed(opened)), []
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _take_file(self, opened: list[int], deadline: Deadline) -> bool:
        """False where the last holder has removed the file meanwhile: then the lock is on nothing, and a new file counts."""
        there = os.path.lexists(self._path)
        try:
            opened.append(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as exc:
            if exc.errno not in _NO_ROOM:
                raise EngineError(f"Cannot open the lock {self._path}: {exc.strerror}.") from exc
            self._take(opened[0], deadline, fcntl.LOCK_EX)
            return True
        self._take(opened[1], deadline, fcntl.LOCK_EX)
        self.abandoned = there
        return _same_file(self._path, opened[1])

    def _take(self, descriptor: int, deadline: Deadline, how: int) -> None:
        """One descriptor for all attempts: each close is an event for everybody who waits, us included."""
        path = f"/proc/self/fd/{descriptor}"
        if not _flock(descriptor, how) and not wait_until(
            lambda: _flock(descriptor, how), deadline, path=path, mask=IN_CLOSE
        ):
            from .holders import holders

            who = " and ".join(holders(os.readlink(path))) or "Another process"
            raise Conflict(f"{who} is working on {self._what} and did not finish in time.")

    def release(self) -> None:
        """Also removes the file: while the lock is held nobody else can have it. Once, also where it is interrupted."""
        held, self._held = self._held, ()
        if len(held) > 1:
            with contextlib.suppress(EngineError):  # It is read-only by now; that is no reason to fail.
                remove_file(self._path)
        for descriptor in held:
            # Before the close: that is what wakes the others, and they are to find the lock free.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _flock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _same_file(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
