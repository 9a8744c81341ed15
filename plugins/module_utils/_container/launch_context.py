# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the launch of conmon if the container needs it: sockets that conmon holds open, and a
mount namespace of its own."""

from __future__ import annotations

import contextlib
import typing as t

from .._base.errors import InvalidOption
from .._config.config import Config
from .._config.namespaces import namespaces_of
from .._conmon.fd_mapping import arrange
from .._host import userns
from .._ports import host_ports
from .._state.model import Definition, NetworkHelper, Record
from .._state.store import Paths, Store

_FEW = 100  # sockets for which each limit of open files has room


class LaunchContext(t.NamedTuple):
    """How to run conmon: its command line and more of its environment, and the descriptors that it gets."""

    argv: list[str]
    environment: dict[str, str]
    preserve: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


def check(store: Store, record: Record, config: Config, recorded: Record | None) -> None:
    """Raises InvalidOption or Conflict for ports and sockets that are not available. Nothing is opened."""
    definition = record.definition
    if definition.listen:
        _check_listen(config)
    count = sum(map(len, host_ports.addresses_of(definition)))
    if count > _FEW:
        from .._ports import open_files

        open_files.check(count)
    host_ports.check_free(
        host_ports.without_forwarded(definition), host_ports.replaceable_definition(recorded), _others(store, record.name)
    )  # fmt: skip


def _check_listen(config: Config) -> None:
    if namespaces_of(config).get("pid") != "":
        hint = "A program takes its sockets only when LISTEN_PID is its own number, which must be known: 1."
        raise InvalidOption("listen needs a container with a pid namespace of its own.", hint=hint)
    if (config.get("process") or {}).get("terminal"):
        raise InvalidOption("listen cannot be used with a container that has a terminal.")


@contextlib.contextmanager
def launch_context(
    store: Store, record: Record, config: Config, paths: Paths, argv: list[str], fds: t.Sequence[int]
) -> t.Iterator[LaunchContext]:
    """Open, and make, what is asked for. Our own copies are closed when conmon has been started with it. ``fds`` are more
    descriptors for conmon."""
    definition, environment = record.definition, dict(record.definition.conmon_env)
    with contextlib.ExitStack() as opened:
        # CRIU brings the listening sockets back by itself.
        asked = definition._replace(listen=()) if record.checkpoint else definition
        count = sum(map(len, host_ports.addresses_of(asked)))
        if count > _FEW:
            from .._ports import open_files

            opened.enter_context(open_files.room_for(count))
        sockets, warnings = host_ports.open_all(host_ports.without_forwarded(asked), _others(store, record.name))
        numbers = (*(opened.enter_context(each).fileno() for each in sockets), *fds)
        if asked.listen:
            environment.update(LISTEN_FDS=str(len(asked.listen)), LISTEN_PID="1")
            argv = [*argv, "--replace-listen-pid"]  # by the pid of the runtime, which passes them on
        staged = userns.barrier(config)
        if record.checkpoint and config["root"].get("readonly"):
            from .restored_limits import read_only_root

            argv = opened.enter_context(read_only_root(config["root"]["path"], argv, staged and paths.staged_root))
        if staged:
            argv = userns.enter(config, paths, argv)
        if asked.listen:
            argv = arrange(argv, numbers)
        if asked.reserve_ports and definition.network_helper is not NetworkHelper.NONE:
            warnings.append(
                f"reserve_ports does nothing with {definition.network_helper.value}, which has the ports that it publishes."
            )
        yield LaunchContext(argv, environment, numbers, tuple(warnings))


def _others(store: Store, name: str) -> host_ports.Containers:
    def found() -> t.Iterator[tuple[str, Definition]]:
        for record in filter(None, map(store.load, store.names())):
            definition = host_ports.active_definition(record)
            if record.name != name and definition:
                yield record.name, definition

    return found
