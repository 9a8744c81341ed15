# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explain why a command could not run in a container."""

from __future__ import annotations

import re
import typing as t

from .._base.errors import LongshoreError, ProgramFailed
from .._base.files import read_tail, split_lines
from .._runtime.failure import last_error
from .._state.model import Record
from .process_spec import Command
from .session_store import SessionPaths

# Errors of runc 1.0 to 1.3 and crun 1.8 to 1.28 for a program that does not exist, or cannot be executed.
_NOT_FOUND = re.compile(r'executable file .*not found|exec(: "| `?/).*no such file', re.IGNORECASE)
_NOT_EXECUTABLE = re.compile(
    r"permission denied|exec format error|is a directory|not a directory|operation not permitted", re.IGNORECASE
)
_DIRECTORY = re.compile(r"\b(cwd|chdir|working directory)\b", re.IGNORECASE)


def explain(exc: LongshoreError, record: Record, paths: SessionPaths, command: Command) -> LongshoreError:
    """Return the error with the best reason: the runtime's last error, then conmon's message, then conmon's output."""
    log = "\n".join(read_tail(paths.runtime_log))
    written = read_tail(paths.conmon_log)
    reasons = (last_error(log), exc.message, " ".join(written[-3:]), "the runtime ended without a message")
    reason = next(text for text in reasons if text).rstrip(".")
    details: dict[str, t.Any] = {
        "runtime_log": split_lines(log)[-20:],
        "conmon_log": written,
        "cmd": list(command.argv),
    }
    what = f"{command.argv[0]} in the container {record.name}"
    if not _DIRECTORY.search(reason):
        for code, words, pattern in ((127, "found", _NOT_FOUND), (126, "executed", _NOT_EXECUTABLE)):
            if pattern.search(reason):
                return ProgramFailed(
                    f"Cannot run {what}: it cannot be {words} ({reason}).", rc=code, stdout="", stderr="", **details
                )
    return type(exc)(f"Cannot run {what}: {reason}.", hint=exc.hint, **details)
