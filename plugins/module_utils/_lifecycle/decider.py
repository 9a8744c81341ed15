# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what a task asks while it works: Containers answers."""

from __future__ import annotations

import typing as t

from .._state.model import Desired, Observed, Plan

if t.TYPE_CHECKING:
    from .._container.create import Launch
    from .._host.detect import Host
    from .plan import Differences


class Decider(t.Protocol):
    """Looks at a container, and decides. See Containers."""

    @property
    def host(self) -> Host: ...

    def decide(self, desired: Desired, *, unread: Differences | None = None) -> tuple[Observed, Plan]: ...

    def prepare(self, desired: Desired, before: Observed, decided: Plan) -> Launch | None: ...
