# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of an exec session."""

from __future__ import annotations

import enum


class Status(str, enum.Enum):
    """The state of an existing session."""

    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
