# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove a container in any state: an ended one, a service, or leftovers."""

from __future__ import annotations

import os
import re

from .._base import leftovers
from .._base.deadline import Deadline
from .._container import ownership, sweep
from .._container.observe import collect_exit
from .._host.detect import Host
from .._state import names
from .._state.model import Observed, Record, Status, Timeouts
from .._state.store import Store


def delete_container(
    store: Store, host: Host, before: Observed, record: Record | None, timeouts: Timeouts
) -> Record | None:
    """Return the new record, which stays with the log and a checkpoint for the next container of this name, or None if it has no
    meaning any more. Raises EngineError that names objects that could not be removed."""
    name = before.name
    if record and record.realm != store.realm:
        record = ownership.without_others(store, record)
    realm = record.realm if record else store.realm
    if (record and record.definition.service) or os.path.lexists(names.service_path(name, realm)):
        from .._service import owner_systemd

        if record is None:
            owner_systemd.check_unit(sweep.orphans(store, host, name)[0], store.paths(name))
        if record is None or ownership.has_unit(record, store.paths(name)):
            owner_systemd.remove(name, realm)
        directory, unit = os.path.split(names.service_path(name, realm))
        leftovers.clear(directory, re.escape(unit))
    leftovers.clear(store.run_dir, r"programs\.json")
    if record is None:
        for orphan in sweep.orphans(store, host, name):
            sweep.sweep_leftovers(store, orphan, timeouts)
        return None
    if record.phase == "creating":
        sweep.sweep_leftovers(store, record, timeouts)
        store.release_bundle(record.definition.bundle, name)
        return None
    if record.phase == "removed":
        return record
    sweep.delete_state(store, record, timeouts)
    if before.status is Status.CHECKPOINTED:
        return store.save(record.replace(phase="checkpointed"))
    ended = before.exit or collect_exit(record, store.paths(name), Deadline(0))
    return store.save(record.replace(phase="removed", last_exit=ended))
