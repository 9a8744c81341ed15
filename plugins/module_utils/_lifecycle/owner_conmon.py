# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Own a container without a manager: this task starts conmon, and conmon has the container until it ends. See Owner."""

from __future__ import annotations

import typing as t

from .._base.errors import InvalidOption, LongshoreError
from .._config.namespaces import namespaces_of
from .._runtime.runtime import Runtime
from .._state.model import Record, Status, StopReport, Timeouts
from .._state.phase import Phase
from .._state.store import Store
from .._state.timestamps import timestamp
from .runtime_step import call_unless_done

if t.TYPE_CHECKING:
    from .._container.create import Launch
    from .._host.detect import Host
    from .._state.lock import Lock
    from .._state.model import Observed


def check(store: Store, launch: Launch) -> None:
    record, config = launch.record, launch.config
    if record.definition.restart_policy != "no":
        raise InvalidOption("restart_policy needs service: it is systemd that starts the container again.")
    if any(namespaces_of(config).values()):
        from .._container.joined_namespaces import check_running

        check_running(store, record, config)
    if not launch.is_plain:
        from .._host import userns

        userns.check(config, store.paths(record.name))


def create(store: Store, launch: Launch, *, previous: Record | None, timeouts: Timeouts) -> tuple[Record, list[str]]:
    from .._container import create

    return create.create(store, launch, previous=previous, timeouts=timeouts)


def start(store: Store, record: Record, timeouts: Timeouts) -> tuple[Record, list[str]]:
    if record.definition.sdnotify == "ignore":
        return _start(store, record, Phase.RUNNING), []
    from .._container.sd_notify import start_and_tell

    return start_and_tell(store, record, timeouts, lambda phase: _start(store, record, phase))


def _start(store: Store, record: Record, phase: Phase) -> Record:
    """The record comes first: a task that is killed leaves no container that runs, and waits to be ready, unknown to all."""
    started = store.save(record.replace(phase=phase, started_at=timestamp()))
    try:
        call_unless_done(Runtime(record, store.paths(record.name).runtime_log), "start", record, Status.RUNNING)
    except LongshoreError:
        store.save(record)
        raise
    return started


def stop(
    store: Store, lock: Lock, record: Record, *, number: int, timeouts: Timeouts
) -> tuple[StopReport, Record | None]:
    from .._container import stop

    return stop.stop(store, lock, record, number=number, timeouts=timeouts)


def update(store: Store, record: Record, _timeouts: Timeouts) -> Record:
    """The settings count when the container is stopped. Nothing else knows them."""
    return store.save(record)


def delete(store: Store, host: Host, before: Observed, record: Record | None, timeouts: Timeouts) -> Record | None:
    from .._container.delete import delete_container

    return delete_container(store, host, before, record, timeouts)
