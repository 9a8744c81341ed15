# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe the unit of a service and its script, from files: whether they are as written, and whether the unit is enabled and active.

Only about a service that has run since a task stopped it, systemd is asked: no file shows that it waits to restart the unit.
"""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from .._base.deadline import Deadline
from .._base.errors import LongshoreError
from .._base.files import read_text
from .._config.config import DEVICES
from .._conmon.exit_files import exit_file
from .._conmon.service_exit import is_active
from .._container.ownership import check_unit
from .._state import names
from .._state.model import Record, Timeouts
from .._state.phase import Phase
from .._state.store import Paths, Store
from .service_unit import namespaces_of, script_text, start_seconds, unit_text
from .stop_starting import Bus

_PROMPT = 5.0  # seconds for an answer of systemd

# In these phases, the container has no unit, or the unit has the settings of one stop.
_UNKNOWN = (Phase.CREATING, Phase.REMOVED, Phase.STOPPING, Phase.CHECKPOINTED, Phase.RESTORING)


class UnitState(t.NamedTuple):
    """A unit. ``active``: systemd runs it, or waits to restart it. ``differences``: parts that differ from the record."""

    enabled: bool
    active: bool
    differences: t.Mapping[str, tuple[t.Any, t.Any]] = {}


def look(store: Store, record: Record) -> UnitState | None:
    """Return the state of the unit, None in a phase in which it has none. Raises Conflict for a unit of another origin."""
    paths = store.paths(record.name)
    if record.phase in _UNKNOWN:
        return None
    check_unit(record, paths)
    old, new = written(store, record), texts(store, record)
    found: dict[str, tuple[t.Any, t.Any]] = {}
    if old[0] != new[0]:  # The environment of conmon is in it.
        found["service.script"] = (None if old[0] is None else "(hidden)", "(hidden, new)")
    if old[1] is None:
        found["service.unit"] = (None, names.service_unit(record.name, record.realm))
    elif old[1] != new[1]:
        found["service.unit"] = (_only(old[1], new[1]), _only(new[1], old[1]))
    return UnitState(is_enabled(record), is_active(record) or _waits(record, paths), found)


def _waits(record: Record, paths: Paths) -> bool:
    """Tell whether systemd waits to restart a unit that was started after the last task that stopped it."""
    end = exit_file(record, paths) if record.phase in (Phase.CREATED, Phase.STOPPED) else None
    if end is None or os.stat(end).st_mtime_ns <= os.stat(paths.record).st_mtime_ns:
        return False
    with contextlib.suppress(LongshoreError), Bus(user=os.geteuid() != 0, deadline=Deadline(_PROMPT)) as bus:
        return bus.substate(names.service_unit(record.name, record.realm)) not in ("", "dead", "failed")
    return False


def _only(text: str, other: str) -> list[str]:
    lines = set(other.split("\n"))
    return [line for line in text.split("\n") if line not in lines]


def is_enabled(record: Record) -> bool:
    """Tell whether systemd starts the unit at boot."""
    directory, unit = os.path.split(names.service_path(record.name, record.realm))
    return os.path.lexists(f"{directory}/{names.service_target()}.wants/{unit}")


def written(store: Store, record: Record) -> tuple[str | None, str | None]:
    """Return the script and the unit on disk."""
    return read_text(store.paths(record.name).service_script), read_text(names.service_path(record.name, record.realm))


def texts(store: Store, record: Record, timeouts: Timeouts | None = None) -> tuple[str, str]:
    """Return the script and the unit of a record. Without ``timeouts``, keep the timeout of a start in the unit: no record has it."""
    paths, saved = store.paths(record.name), store.load_config(record.name) or {}
    found = re.search(r"(?m)^TimeoutStartSec=(\d{1,9})$", written(store, record)[1] or "")
    start = float(found[1]) if found and not timeouts else start_seconds(record, timeouts or Timeouts())
    terminal = bool(saved.get("process", {}).get("terminal"))
    joins, bound = namespaces_of(store, record, saved)
    if DEVICES in (saved.get("annotations") or {}):
        from . import device_script

        joins = {**joins, **device_script.parts(saved, paths)}
    return script_text(record, paths, joins, terminal=terminal), unit_text(record, paths, start, saved, bound)
