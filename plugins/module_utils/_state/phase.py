# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the phases of a container in its record, and which phase may follow which. Pure."""

from __future__ import annotations

import enum

from .._base.errors import LongshoreError


class Phase(str, enum.Enum):
    """The step that the last task to save the record had begun or completed. The real state must be observed."""

    CREATING = "creating"
    CREATED = "created"
    STARTING = "starting"  # until it reports readiness, or systemd has started it
    RUNNING = "running"  # or paused, or ended by itself
    STOPPING = "stopping"
    STOPPED = "stopped"
    REMOVED = "removed"  # a record and a log, for the next container of the name
    CHECKPOINTING = "checkpointing"
    CHECKPOINTED = "checkpointed"
    RESTORING = "restoring"


PHASES = frozenset(phase.value for phase in Phase)
_ENDS = {Phase.STOPPING, Phase.REMOVED}
# The phases that may follow. A new record begins with CREATING. A task that saves the same phase again continues
# the work of a killed one.
TRANSITIONS = {
    Phase.CREATING: {Phase.CREATED, Phase.RESTORING},
    # systemd starts a service at boot, and as often as its restart policy says: no task sees STARTING then.
    # CHECKPOINTING: it runs, although the start was reported as failed (a slow hook), or was made by hand.
    Phase.CREATED: {Phase.STARTING, Phase.RUNNING, Phase.CHECKPOINTING, *_ENDS},
    # CREATED: systemd has failed to start it.
    Phase.STARTING: {Phase.CREATED, Phase.RUNNING, Phase.CHECKPOINTING, *_ENDS},
    # STARTING: a task was killed after it saved RUNNING, and before the runtime was called; or systemd is restarting
    # it.
    Phase.RUNNING: {Phase.STARTING, Phase.CHECKPOINTING, *_ENDS},
    # Phases of a running container: a task was killed before it requested the stop.
    Phase.STOPPING: {Phase.STOPPED, Phase.STARTING, Phase.RUNNING, Phase.CHECKPOINTING, Phase.REMOVED},
    Phase.STOPPED: {Phase.RUNNING, *_ENDS},
    Phase.REMOVED: set(),
    Phase.CHECKPOINTING: {Phase.CHECKPOINTED, Phase.RUNNING},
    Phase.CHECKPOINTED: {Phase.REMOVED},
    Phase.RESTORING: {Phase.RUNNING, Phase.CHECKPOINTED},
}


def check_transition(name: str, old: Phase, new: Phase) -> None:
    """Raise LongshoreError if a phase cannot follow: a fault of this program, whose record would mislead the next task."""
    if new is not old and new not in TRANSITIONS[old]:
        hint = "This is a fault of Longshore. Please report it."
        raise LongshoreError(f"The container {name} cannot go from {old.value} to {new.value}.", hint=hint)
