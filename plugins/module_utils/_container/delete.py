# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove a container that has ended, or what a killed task, a lost record or an earlier release has left of one."""

from __future__ import annotations

from .._base import leftovers
from .._base.deadline import Deadline
from .._conmon.exit_wait import collect_exit
from .._host.detect import Host
from .._host.orphans import orphans
from .._state.model import Observed, Record, Status, Timeouts
from .._state.phase import Phase
from .._state.store import Store
from . import sweep


def delete_container(
    store: Store, host: Host, before: Observed, record: Record | None, timeouts: Timeouts
) -> Record | None:
    """Remove what conmon, the runtime and we have of a container: the contract of ``Owner.delete``. Raises LongshoreError that names
    what would not go."""
    leftovers.clear(store.run_dir, r"programs\.json")
    if record is None:
        for orphan in orphans(store, host, before.name):
            sweep.sweep_leftovers(store, orphan, timeouts)
        return None
    if record.phase is Phase.CREATING:
        sweep.sweep_leftovers(store, record, timeouts)
        return None
    if record.phase is Phase.REMOVED:
        return record
    sweep.delete_state(store, record, timeouts)
    if before.status is Status.CHECKPOINTED:
        return store.save(record.replace(phase=Phase.CHECKPOINTED))
    ended = before.exit or collect_exit(record, store.paths(before.name), Deadline(0))
    return store.save(record.replace(phase=Phase.REMOVED, last_exit=ended))
