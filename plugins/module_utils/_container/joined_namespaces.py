# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Join namespaces of other containers, by name, and namespaces at a path.

A pid is valid only while its process lives. So each launch resolves the name under the lock, and the runtime gets a link to a
descriptor of this task, which was opened while the other container's first process provably lived. The script of a service
does the same at each start.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.errors import InvalidOption, ProgramFailed, WrongState
from .._base.files import make_directory, remove_file
from .._base.process import ProcessId, is_alive
from .._config.namespace_paths import KINDS, check_path
from .._config.namespaces import namespaces_of
from .._ports import joined_network
from .._state.model import Record
from .._state.store import Paths, Store, check_name

_AGAIN = (
    "Run oci_bundle again, which keeps the name of a container. By hand, write container:NAME, or a path in /run/netns."
)


def check(store: Store, record: Record, config: t.Mapping[str, t.Any]) -> None:
    """Raises InvalidOption or WrongState if a namespace of an effective config cannot be joined, or not identified
    reliably."""
    paths = store.paths(record.name)
    rootless = os.geteuid() != 0 and namespaces_of(config).get("user") == ""
    for kind, path in namespaces_of(config).items():
        if path.startswith(f"{paths.namespaces}/"):
            if rootless:
                message = f"The container {record.name} cannot share the {kind} namespace of another one."
                hint = "Only root can do so: a container of another user has its own user namespace, without rights in others."
                raise InvalidOption(message, hint=hint)
            _check_peer(store, record, kind, path[len(f"{paths.namespaces}/{kind}/") :])
        elif path:
            check_path(kind, path, _AGAIN)


def _check_peer(store: Store, record: Record, kind: str, peer: str) -> None:
    check_name(peer)
    what = f"the {kind} namespace of the container {peer}"
    if kind not in KINDS:
        raise InvalidOption(f"A container cannot share {what}.", hint=f"It can share these: {', '.join(KINDS)}.")
    if peer == record.name:
        raise InvalidOption(f"The container {peer} cannot share its {kind} namespace with itself.")
    if store.load(peer) is None:
        raise WrongState(f"The container {record.name} shares {what}, which does not exist.", hint="Create it first.")
    if record.name in _behind(store, peer):
        raise InvalidOption(f"The container {record.name} shares {what}, which shares a namespace of {record.name}.")


def check_running(store: Store, record: Record, config: t.Mapping[str, t.Any]) -> None:
    """Raise WrongState if another container, whose namespace this one shares, does not run."""
    for kind, peer in peers(config, store.paths(record.name)).items():
        if _init(store, peer) is None:
            what = f"the {kind} namespace of the container {peer}"
            raise WrongState(f"The container {record.name} shares {what}, which does not run.", hint="Start it first.")


def _behind(store: Store, name: str) -> set[str]:
    """Return the containers whose namespaces a container shares, also indirectly."""
    found: set[str] = set()
    todo = [name]
    while todo:
        each = todo.pop()
        more = set(peers(store.load_config(each) or {}, store.paths(each)).values()) - found
        found |= more
        todo += more
    return found


def peers(config: t.Mapping[str, t.Any], paths: Paths) -> dict[str, str]:
    """Return the other containers in an effective config, by the kind of the namespace."""
    found = namespaces_of(config).items()
    return {kind: os.path.basename(path) for kind, path in found if path.startswith(f"{paths.namespaces}/{kind}/")}


def _init(store: Store, name: str) -> ProcessId | None:
    """Return the first process of a running container, or None."""
    record = joined_network.load(store, name)
    return record.init if record is not None and is_alive(record.init) else None


@contextlib.contextmanager
def offered(store: Store, record: Record, config: t.Mapping[str, t.Any]) -> t.Iterator[t.Callable[[int], None]]:
    """Create the paths of the namespaces for a launch. Yield a function that checks, with the pid of the first process, that it
    has joined them. Raises WrongState if the other container does not run."""
    paths, opened = store.paths(record.name), {}
    try:
        for kind, peer in peers(config, paths).items():
            descriptor = joined_network.open_namespace(_init(store, peer), kind)
            if descriptor is None:
                raise WrongState(f"The container {peer}, whose {kind} namespace {record.name} shares, does not run.")
            opened[kind] = (descriptor, f"{paths.namespaces}/{kind}/{peer}")
            make_directory(f"{paths.namespaces}/{kind}")
            # The kernel resolves it to the open namespace, even if another process has the pid of the container now.
            os.symlink(f"/proc/{os.getpid()}/fd/{descriptor}", opened[kind][1])
        yield lambda pid: _settle(record, pid, opened)
    finally:
        for descriptor, _path in opened.values():
            os.close(descriptor)


def _settle(record: Record, pid: int, opened: t.Mapping[str, tuple[int, str]]) -> None:
    """Raises ProgramFailed if the runtime has joined another namespace. From now on, the paths lead to the namespaces of the
    container itself, which a checkpoint needs."""
    for kind, (descriptor, path) in opened.items():
        own = f"/proc/{pid}/ns/{KINDS[kind]}"
        # It has ended, or only root may read this before the start.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if not os.path.samestat(os.stat(own), os.fstat(descriptor)):
                raise ProgramFailed(f"{record.runtime.name} has not joined the given {kind} namespace")
        remove_file(path)
        os.symlink(own, path)
