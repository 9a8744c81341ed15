# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explain why a runtime failed, from its JSON log and from what it printed."""

from __future__ import annotations

import json

from .._base.errors import ProgramFailed
from .._base.files import read_tail
from .._base.program import Completed
from .._state.model import Record


def last_error(log: str) -> str | None:
    """Return the last error of a runtime's JSON log, which may also have warnings and lines without JSON. An entry is one
    line, but several lines with crun 1.28."""
    found, start, decoder = None, log.find("{"), json.JSONDecoder()
    while start >= 0:
        try:
            entry, end = decoder.raw_decode(log, start)
        except ValueError:
            entry, end = {}, start + 1
        if entry.get("level") in ("error", "fatal", "panic"):
            found = str(entry.get("msg") or "").strip() or found
        start = log.find("{", end)
    return found


def error_in(log: str) -> str | None:
    """Return the last error in the file of a runtime's JSON log, of which only the end is read."""
    return last_error("\n".join(read_tail(log, lines=100_000, limit=16 << 20)))


def said(result: Completed, log: str) -> str:
    """Return the reason that a runtime gave for its failure."""
    return error_in(log) or result.stderr.strip()[-2000:] or f"no message, only exit status {result.rc}"


def of(record: Record, verb: str, result: Completed, log: str) -> ProgramFailed:
    """Return the error of a failed call of a runtime."""
    return ProgramFailed(
        f"Cannot {verb} the container {record.name}: {record.runtime.name} says: {said(result, log)}",
        rc=result.rc, stderr=result.stderr[-2000:], runtime_log=read_tail(log),
    )  # fmt: skip
