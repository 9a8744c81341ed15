# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove the rules with which CRIU holds back packets, where no restore will do it (the network lock of CRIU).

CRIU drops all packets in the network namespace of a container during a dump, and after a dump that ends the container: so no
open connection is answered with a reset before the restore, which removes the rules. They stay in a namespace that outlives
the container if the checkpoint is deleted or restored elsewhere, and in each namespace where CRIU was killed. Source of the
rules: criu/net.c and criu/netfilter.c.
"""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from .._base.deadline import Deadline
from .._base.errors import LongshoreError, MissingPrerequisite, ProgramFailed
from .._base.files import split_lines
from .._base.process import is_alive
from .._base.program import Completed, find_program, run
from .._state.model import Record
from .._state.phase import Phase
from .._state.store import Store
from . import joined_network

CHAIN = "CRIU"
_TABLE = re.compile(r"table inet (CRIU-[0-9]+)")
_HOLDING = (Phase.CHECKPOINTING, Phase.CHECKPOINTED, Phase.RESTORING)
_SECONDS = 30.0
_MOST_JUMPS = 64  # one for each container of the namespace that was dumped


def release(store: Store, record: Record) -> None:
    """Remove the rules from the network namespace of a container, unless another checkpointed container needs them there.

    Do nothing for an ended container with a namespace of its own. Raises ProgramFailed or MissingPrerequisite.
    """
    if os.geteuid() != 0:
        return  # CRIU dumps containers of root only.
    with _network_of(store, record) as namespace:
        if namespace is not None and not [name for name in holders(store, namespace) if name != record.name]:
            remove(f"/proc/{os.getpid()}/fd/{namespace}", Deadline(_SECONDS))


def give_up(store: Store, record: Record) -> list[str]:
    """Call release() for a checkpointed container that is not restored. Return a warning instead of raising an error, which must
    not prevent the removal of the container."""
    try:
        release(store, record)
    except LongshoreError as exc:
        return [str(exc)]
    return []


def holders(store: Store, namespace: int) -> list[str]:
    """Return the checkpointed containers that were in a network namespace, given as a descriptor. A dump or a restore may be in
    progress."""
    found = []
    for record in filter(None, map(store.load, store.names())):
        if record.phase in _HOLDING:
            with _network_of(store, record) as other:
                if other is not None and os.path.samestat(os.fstat(other), os.fstat(namespace)):
                    found.append(record.name)
    return found


def remove(namespace: str, deadline: Deadline) -> None:
    """Remove the rules of CRIU from the network namespace at a path. Raises ProgramFailed or MissingPrerequisite."""
    for program in filter(None, map(find_program, ("iptables", "ip6tables"))):
        if _inside(namespace, deadline, program, "-w", "-S", CHAIN).rc == 0:
            for chain in ("INPUT", "OUTPUT"):
                for _jump in range(_MOST_JUMPS):
                    if _inside(namespace, deadline, program, "-w", "-D", chain, "-j", CHAIN).rc != 0:
                        break
            for step in ("-F", "-X"):
                _checked(_inside(namespace, deadline, program, "-w", step, CHAIN))
    nft = find_program("nft")
    if nft is not None:
        for line in split_lines(_inside(namespace, deadline, nft, "list", "tables").stdout):
            found = _TABLE.fullmatch(line)
            if found is not None:
                _checked(_inside(namespace, deadline, nft, "delete", "table", "inet", found[1]))


def _inside(namespace: str, deadline: Deadline, *argv: str) -> Completed:
    nsenter = find_program("nsenter")
    if nsenter is None:
        raise MissingPrerequisite(
            "Cannot remove the rules with which CRIU holds back packets: there is no nsenter on this host.",
            hint="Install util-linux.",
        )
    return run([nsenter, f"--net={namespace}", *argv], deadline, what="remove the rules of CRIU", most=1 << 20)


def _checked(result: Completed) -> None:
    if result.rc != 0:
        raise ProgramFailed(
            f"Cannot remove the rules with which CRIU holds back packets: {result.stderr.strip()[-500:]}",
            hint="They are in the chain CRIU of iptables, in the network namespace of the container.",
        )


@contextlib.contextmanager
def _network_of(store: Store, record: Record) -> t.Iterator[int | None]:
    """Yield a descriptor of the network namespace of a container, or None: it has ended with the container, or is that of the
    host, where CRIU drops the packets of single connections only."""
    descriptor = None
    with contextlib.suppress(OSError, LongshoreError):
        descriptor = _open(store, record)
    try:
        yield None if descriptor is None or _is_of_host(descriptor) else descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open(store: Store, record: Record) -> int | None:
    if is_alive(record.init):
        return joined_network.open_namespace(record.init)
    path = joined_network.path_in(store, record.name)
    if path.startswith(f"{store.paths(record.name).namespaces}/"):
        peer = joined_network.load(store, os.path.basename(path))
        return joined_network.open_namespace(peer.init) if peer is not None else None
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if path else None


def _is_of_host(descriptor: int) -> bool:
    return os.path.samestat(os.fstat(descriptor), os.stat("/proc/self/ns/net"))
