# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notice that a container runs in other namespaces than those that its config leads to now. Only files are read."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.process import is_alive
from .._config.namespace_paths import KINDS
from .._config.namespaces import namespaces_of
from .._state.model import Action, Observed, Plan, Record
from .._state.store import Store
from . import joined_network


def warned(store: Store, before: Observed, decided: Plan, config: t.Mapping[str, t.Any]) -> Plan:
    """Return a plan with these warnings, if the container continues."""
    goes_on = {Action.STOP, Action.CREATE}.isdisjoint(decided.actions)
    more = warnings(store, before.existing, config) if goes_on else ()
    return decided._replace(warnings=(*decided.warnings, *more))


def warnings(store: Store, record: Record, config: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """Return a warning for each namespace that is no longer at its path, or no longer that of the container that it was shared
    with. A container that has ended has no other one."""
    found = []
    for kind, path in namespaces_of(config).items():
        own = _identity(f"/proc/{record.init.pid}/ns/{KINDS[kind]}") if path and kind in KINDS and record.init else None
        if own is not None:
            peer = path.startswith(f"{store.paths(record.name).namespaces}/{kind}/")
            found.append(_of_peer(store, record, kind, path, own) if peer else _of_path(record, kind, path, own))
    return tuple(filter(None, found))


def _of_peer(store: Store, record: Record, kind: str, path: str, own: tuple[int, int]) -> str:
    peer = joined_network.load(store, os.path.basename(path))
    if peer is None or peer.init is None or not is_alive(peer.init):
        return ""
    if _identity(f"/proc/{peer.init.pid}/ns/{KINDS[kind]}") in (None, own):
        return ""
    what = f"The container {record.name} still has the former {kind} namespace of the container {peer.name}"
    return f"{what}, which has been started again. state=restarted joins the present one."


def _of_path(record: Record, kind: str, path: str, own: tuple[int, int]) -> str:
    there = _identity(path)
    if there == own:
        return ""
    if there is not None and there[0] == own[0]:
        what = f"The container {record.name} still has the former {kind} namespace of {path}"
        return f"{what}, where another one is now. state=restarted joins the present one."
    what = (
        f"The {kind} namespace of the container {record.name} is no longer at {path}, so it could not be started again"
    )
    return f"{what}. oci_network gives a namespace of its own its name again. Otherwise, make another one, and use state=restarted."


def _identity(path: str) -> tuple[int, int] | None:
    """Return device and inode. None where there is nothing, or for a process that has ended or is another user's."""
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    return None
