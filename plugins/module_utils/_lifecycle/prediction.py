# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predict what a task would do: the plan of the task, which is not carried out. Files and programs that do not exist yet are assumed,
because earlier tasks of the play, which also only predict, may create them."""

from __future__ import annotations

import typing as t

from .._base.errors import AbsentFile, LongshoreError, NotInstalled
from .._base.files import is_busy
from .._state.model import Desired, Outcome

if t.TYPE_CHECKING:
    from .._state.store import Store
    from .task import Decider


def predict(store: Store, decider: Decider, desired: Desired) -> Outcome:
    """Return the outcome of check mode. Raises LongshoreError for what cannot work on this host."""
    assumed: list[str] = []
    try:
        before, decided = decider.decide(desired)
    except AbsentFile as exc:
        if desired.definition is None:
            raise
        assumed.append(_assumption(exc))
        before, decided = decider.decide(desired, unread={"launch.bundle": ("present", "unknown")})
    try:
        if not assumed:
            decider.prepare(desired, before, decided)
    except (AbsentFile, NotInstalled) as exc:
        assumed.append(_assumption(exc))
    warnings = (*decided.warnings, *assumed, *_busy(store, desired))
    return Outcome(decided, before, before, decided.actions, warnings=warnings)


def _assumption(exc: LongshoreError) -> str:
    return f"{exc.message} Check mode assumes that an earlier task of the play creates it."


def _busy(store: Store, desired: Desired) -> tuple[str, ...]:
    """Return a warning about other tasks. Check mode does not wait for them."""
    if not is_busy(store.run_dir, desired.name):
        return ()
    from .._state.lock_holders import holders

    found = holders(store.paths(desired.name).lock)
    return (f"Other tasks work on the container {desired.name} now: {', '.join(found)}.",) if found else ()
