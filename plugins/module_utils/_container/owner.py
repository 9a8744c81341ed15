# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the steps that the owner of a container takes: conmon alone, or systemd, which then runs conmon.

Two modules are owners: ``_lifecycle/owner_conmon`` and ``_service/owner_systemd``. ``_lifecycle/owners`` chooses. All steps are
taken under the lock of the container. A step that fails, or whose task is killed, leaves a state from which the next task
converges.
"""

from __future__ import annotations

import typing as t

from .._state.model import Observed, Record, StopReport, Timeouts

if t.TYPE_CHECKING:
    from .._host.detect import Host
    from .._state.lock import Lock
    from .._state.store import Store
    from .create import Launch


class Owner(t.Protocol):
    """Check, create, start, stop, update and delete a container. All errors are LongshoreErrors."""

    def check(self, store: Store, launch: Launch) -> None:
        """Refuse a prepared container that this owner cannot run. This changes nothing on the host.

        Raises InvalidOption for its options, WrongState for another container whose namespace it needs, and
        MissingPrerequisite for what the host lacks.
        """

    def create(
        self, store: Store, launch: Launch, *, previous: Record | None, timeouts: Timeouts
    ) -> tuple[Record, list[str]]:
        """Create the container; return its record and warnings. A failure leaves nothing of it, and restores the
        previous record, config and claim."""

    def start(self, store: Store, record: Record, timeouts: Timeouts) -> tuple[Record, list[str]]:
        """Start the container, and wait for its readiness if it reports that; return its record and warnings."""

    def stop(
        self, store: Store, lock: Lock, record: Record, *, number: int, timeouts: Timeouts
    ) -> tuple[StopReport, Record | None]:
        """Send the signal ``number``, then kill. The lock is free while the task waits for the container.

        Return the record with the changes that other tasks saved meanwhile; None if another task replaced the
        container.
        """

    def update(self, store: Store, record: Record, timeouts: Timeouts) -> Record:
        """Save a record with other stop settings, and apply them from now on."""

    def delete(
        self, store: Store, host: Host, before: Observed, record: Record | None, timeouts: Timeouts
    ) -> Record | None:
        """Remove the container, except its log, its checkpoints and its record. Return that record, or None if there
        was no valid one."""
