# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of the collection: what failed, on which container, and what to do next. One class for each kind of answer.

    LongshoreError            the host refused an operation of the task       look at the host; run the task again
    |-- InvalidOption         the request cannot work                         correct the task or a file that it names
    |   `-- AbsentFile        such a file does not exist                      create it; check mode assumes that
    |-- MissingPrerequisite   the host lacks a program, a right, a feature    prepare the host (role ``runtime``)
    |   `-- NotInstalled      such a program is not there                     install it; check mode assumes that
    |-- WrongState            the container (session, bundle) is not ready    bring it into the named state first
    |-- Conflict              another task or program uses a resource         run the task again when it is free
    |-- ProgramFailed         conmon, the runtime, skopeo, ... failed         read ``runtime_log``, ``conmon_log``
    `-- DeadlineExceeded      an operation took too long                      raise the time limit; find what hangs

Whatever can be known before is refused before the container (session, bundle, network) is changed. A later failure depends on
the operation. A create or restore that fails removes its own parts and restores the former record, but not a container that
it was to replace. A checkpoint that fails lets its container continue. A failed change of a bundle
restores the former one. A bundle with its new config.json, a network, a stop and a removal stay where they failed, and the next
task continues them.
"""

from __future__ import annotations

import enum
import typing as t


def reason_of(exc: OSError | ValueError) -> str:
    """Return the reason of an exception, without its number and path."""
    return getattr(exc, "strerror", None) or str(exc)


_MOST_TEXT = 4000  # characters


def _readable(text: str) -> str:
    """Return the text of an error without the double full stop that follows a sentence of a program, and without its middle if it
    is very long, for example because it contains an argument."""
    import re

    text = re.sub(r"(?<![./])\.\.(?=\s|$)", ".", text)
    half = _MOST_TEXT // 2
    return text if len(text) <= _MOST_TEXT else f"{text[:half]} [...] {text[-half:]}"


class LongshoreError(Exception):
    """An operation failed.

    ``message`` is one sentence, ``hint`` (may be empty) tells the user the next step, and ``details`` has values for
    programs: ``argv``, ``rc``, ``runtime_log``, ``conmon_log``, ``container_log`` and others, all JSON values.
    """

    def __init__(self, message: str, *, hint: str = "", **details: t.Any) -> None:
        self.message, self.hint = _readable(message), _readable(hint)
        super().__init__(self.message)
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidOption(LongshoreError):
    """An option, or a file that it names, cannot be used, on this host or on any."""


class MissingPrerequisite(LongshoreError):
    """This host, or this user on it, lacks what the request needs: a program, its version, a right, a feature of the kernel."""


class AbsentFile(InvalidOption):
    """A file that an option names does not exist. An earlier task of the play may create it, so check mode assumes it."""


class NotInstalled(MissingPrerequisite):
    """A program is not on this host. An earlier task of the play may install it, so check mode assumes it."""


class WrongState(LongshoreError):
    """The container, session, bundle or checkpoint is in a state in which the request has no meaning."""


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
