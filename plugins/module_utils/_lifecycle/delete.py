# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let its owner delete a container."""

from __future__ import annotations

import os
import typing as t

from .._container import ownership
from .._host.detect import Host
from .._state import names
from .._state.model import Observed, Record, Status, Timeouts
from .._state.store import Store
from .owners import owner_of

if t.TYPE_CHECKING:
    from .._container.create import Launch


def delete_container(
    store: Store, host: Host, before: Observed, record: Record | None, timeouts: Timeouts
) -> Record | None:
    """Do what ``Owner.delete`` says. Without a record, a unit of that name says that systemd has the container."""
    if record and record.realm != store.realm:
        record = ownership.without_others(store, record)
    unit = names.service_path(before.name, record.realm if record else store.realm)
    owner = owner_of(record.definition if record else None, has_unit=os.path.lexists(unit))
    return owner.delete(store, host, before, record, timeouts)


def give_up(store: Store, before: Observed, launch: Launch | None) -> list[str]:
    """Remove what a dump has left on the host for a restore, unless ``launch`` is that restore. Return warnings."""
    if before.record is None or before.status is not Status.CHECKPOINTED or (launch and launch.record.checkpoint):
        return []
    from .._ports import packet_lock

    return packet_lock.give_up(store, before.record)
