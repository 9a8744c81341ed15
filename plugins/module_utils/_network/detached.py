# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a namespace of ours that has lost its name and lives on with a process, as after ``ip netns delete``.

It has the recorded inode. But the kernel gives the inode of an ended namespace to another one. So there must also be a connected
interface of the network, or a container that was made for the path of the network.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.errors import Conflict
from .._netlink import netns
from .._netlink.links import Link, Links
from .._network_spec import names
from .._network_spec.differences import Detached, is_connected
from .._network_spec.record import NetworkRecord
from .._ports import joined_network
from .._state.store import Store

_Result = t.TypeVar("_Result")


def find(name: str, inode: int, ends: t.Callable[[], t.Mapping[str, Link]], store: Store) -> Detached | None:
    """Return the namespace of a network that has lost its name, None if no process is in it. ``inode``: the recorded one.
    ``ends``: the ends of the network's interfaces on the host, by interface."""
    found = Detached(inode, tuple(netns.users_of(inode)))
    if found.pids and (not _containers(name, store).isdisjoint(found.pids) or _is_connected(found, ends())):
        return found
    return None


def lives(record: NetworkRecord, inode: int, state_dir: str, store: Store) -> bool:
    """Tell whether processes are in the namespace of a network that has lost its name."""

    def ends() -> dict[str, Link]:
        with Links() as links:
            host = links.all()
        whose = {each.name: names.host_interface(state_dir, record.name, each.name) for each in record.interfaces}
        return {name: host[link] for name, link in whose.items() if link in host}

    return find(record.name, inode, ends, store) is not None


def _containers(name: str, store: Store) -> set[int]:
    """Return the first processes of the containers that were made for the path of a network."""
    found = set()
    for container in store.names():
        path = joined_network.path_in(store, container)
        if path and os.path.realpath(path) == os.path.realpath(netns.path_of(name)):
            record = joined_network.load(store, container)
            found.update([record.init.pid] if record is not None and record.init is not None else [])
    return found


def _is_connected(found: Detached, ends: t.Mapping[str, Link]) -> bool:
    def look() -> dict[str, Link]:
        with Links() as links:
            return links.all()

    with contextlib.suppress(Conflict):
        links = inside(found, look)
        return any(is_connected(links.get(name), end) for name, end in ends.items())
    return False


def inside(found: Detached, work: t.Callable[[], _Result]) -> _Result:
    """Run ``work`` in the namespace and return its result. Raises Conflict if all of its processes have ended."""
    with _opened(found) as descriptor:
        return netns.inside_of(descriptor, work)


def attach(name: str, found: Detached) -> None:
    """Give the namespace its name again. Raises Conflict if all of its processes have ended."""
    with _opened(found) as descriptor:
        netns.attach(name, descriptor)


@contextlib.contextmanager
def _opened(found: Detached) -> t.Iterator[int]:
    with contextlib.ExitStack() as stack:
        for pid in found.pids:
            with contextlib.suppress(OSError):
                descriptor = stack.enter_context(netns.opened(f"/proc/{pid}/ns/net"))
                if os.fstat(descriptor).st_ino == found.inode:
                    break
        else:
            raise Conflict("The last process in the network namespace has just ended.", hint="Run the task again.")
        yield descriptor
