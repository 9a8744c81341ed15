# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request to make, restore or remove a checkpoint, and its outcome."""

from __future__ import annotations

import typing as t

from .._runtime import criu
from .._state.model import Observed
from .plan import Goal, Plan
from .restore import Wanted


class Request(t.NamedTuple):
    """The request. ``wanted`` describes the restored container, ``timeout`` is in seconds."""

    name: str
    goal: Goal
    options: criu.Options = criu.Options()
    archive: str | None = None
    compression: str | None = None
    include_rootfs: bool = False
    include_logs: bool = True
    keep: bool = False
    sign_key: str | None = None
    verify: tuple[str, ...] = ()
    wanted: Wanted = Wanted()
    timeout: float = 600

    @property
    def target(self) -> str:
        return self.wanted.name or self.name


class Outcome(t.NamedTuple):
    """The observed state, the plan and its result. In check mode ``after`` is ``before``, both of the target."""

    plan: Plan
    before: Observed
    after: Observed
    checkpoint: dict[str, t.Any] | None
    statistics: t.Mapping[str, int]
    warnings: tuple[str, ...] = ()
