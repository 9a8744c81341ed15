# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of the engine. Each says what failed, on which container, and what to do next."""

from __future__ import annotations

import enum
import typing as t


def reason_of(exc: OSError | ValueError) -> str:
    """Return the reason of an exception, without its number and path."""
    return getattr(exc, "strerror", None) or str(exc)


class LongshoreError(Exception):
    """An operation failed.

    ``message`` is one sentence, ``hint`` (may be empty) tells the user the next step, and ``details`` has values for
    programs: ``argv``, ``rc``, ``runtime_log``, ``conmon_log``, ``container_log`` and others, all JSON values.
    """

    def __init__(self, message: str, *, hint: str = "", **details: t.Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidOption(LongshoreError):
    """The request cannot work. Raised before the host is changed."""


class Reason(enum.Enum):
    """Why a program counts as failed."""

    REPORTED = "reported"  # by itself, or by conmon about the runtime: that is the last word
    UNREPORTED = "unreported"  # it did not run, ended without a report, or its report is not understood


class ProgramFailed(LongshoreError):
    """conmon, the runtime or another program refused, or died."""

    def __init__(self, message: str, *, reason: Reason = Reason.REPORTED, hint: str = "", **details: t.Any) -> None:
        super().__init__(message, hint=hint, **details)
        self.reason = reason


class DeadlineExceeded(LongshoreError):
    """The deadline passed before the operation was complete."""


class Conflict(LongshoreError):
    """Another task, container or program uses a resource: the lock, the bundle, the name in the runtime's root."""
