# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of the engine. Each says what failed, on which container, and what to do next."""

from __future__ import annotations

import typing as t


def reason_of(exc: OSError | ValueError) -> str:
    """What went wrong, without number and path."""
    return getattr(exc, "strerror", None) or str(exc)


class EngineError(Exception):
    """Something could not be done.

    ``message`` is one sentence for a person, ``hint`` (may be empty) says what to do next, and ``details`` holds what a
    program may want: ``argv``, ``rc``, ``runtime_log``, ``conmon_log``, ``container_log`` and the like, all JSON values.
    """

    def __init__(self, message: str, *, hint: str = "", **details: t.Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidInput(EngineError):
    """What was asked for cannot work. Raised before anything is touched."""


class ProgramFailed(EngineError):
    """conmon or the runtime said no, or died."""


class DeadlineExceeded(EngineError):
    """Something did not happen in time."""


class Conflict(EngineError):
    """Somebody else has what is needed: the lock, the bundle, the name in the runtime's root."""
