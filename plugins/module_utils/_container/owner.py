# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what the owner of a container does: conmon alone, or systemd, which then runs conmon.

Two modules are owners: ``_lifecycle/owner_conmon`` and ``_service/owner_systemd``. ``_lifecycle/owners`` chooses. All steps are
taken under the lock of the container. A step that fails, or whose task is killed, leaves a state from which the next task
converges.
"""

from __future__ import annotations

import typing as t

from .._state.model import Observed, Record, StopReport, Timeouts

if t.TYPE_CHECKING:
    from .._base.lock import Lock
    from .._host.detect import Host
    from .._state.store import Store
    from .create import Launch


class Owner(t.Protocol):
    """All errors are EngineErrors."""

    def create(
        self, store: Store, launch: Launch, *, previous: Record | None, timeouts: Timeouts
    ) -> tuple[Record, list[str]]:
        """Make the container; return its record and warnings. On failure nothing of it is left, and record, config and claim
        are the previous ones again."""

    def start(self, store: Store, record: Record, timeouts: Timeouts) -> tuple[Record, list[str]]:
        """Start the container, and wait until it is ready where it says so; return its record and warnings."""

    def stop(
        self, store: Store, lock: Lock, record: Record, *, number: int, timeouts: Timeouts
    ) -> tuple[StopReport, Record | None]:
        """Ask with the signal ``number``, then kill. The lock is free while the container takes its time.

        Return the record as it is then, with what others have saved meanwhile; None where the container is another by then.
        """

    def update(self, store: Store, record: Record, timeouts: Timeouts) -> Record:
        """Save a record with other stop settings, and let them count from now on."""

    def delete(
        self, store: Store, host: Host, before: Observed, record: Record | None, timeouts: Timeouts
    ) -> Record | None:
        """Remove the container, but for its log, its checkpoints and its record, which is returned. None where there was no
        record that means anything any more."""
