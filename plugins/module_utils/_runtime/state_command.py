# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a runtime for the state of a container, with the command ``state`` of the runtime specification.

This is for runtimes that have no driver, whose files tell nothing. Its answer is believed as far as it has a known form.
"""

from __future__ import annotations

import json
import typing as t

from .._base.deadline import Deadline
from .._base.errors import ProgramFailed
from .._base.program import run
from .._state.model import Record, Status

SECONDS = 10.0
_MOST_BYTES = 1 << 20  # All annotations of a container are in there.
_PAGE = 4096  # The last write of a program that is stopped there may end before it.
# Before the runtime specification had words for it, runtimes had their own.
_STATUS = {
    "creating": Status.CREATED, "created": Status.CREATED, "running": Status.RUNNING, "pausing": Status.PAUSED,
    "paused": Status.PAUSED, "stopped": Status.STOPPED,
}  # fmt: skip


class State(t.NamedTuple):
    """The answer. ``status`` None: the runtime does not know the container, or has failed; then ``said`` tells why."""

    status: Status | None
    bundle: str | None = None
    said: str = ""


def ask(record: Record, argv: t.Sequence[str]) -> State:
    """Run a runtime with the command line for ``state``. Nothing is written.

    Raises DeadlineExceeded, and ProgramFailed for an answer that cannot be believed or a program that cannot be run.
    """
    name = record.runtime.name
    result = run(argv, Deadline(SECONDS), what="tell its state", most=_MOST_BYTES)
    if len(result.stdout) > _MOST_BYTES - _PAGE:
        raise ProgramFailed(f"{name} does not tell the state of {record.name}: it says more than {_MOST_BYTES} bytes.")
    if result.rc != 0:
        return State(None, said=result.stderr.strip()[-500:] or f"nothing, only exit status {result.rc}")
    return _parse(result.stdout, record)


def _parse(text: str, record: Record) -> State:
    problem = f"{record.runtime.name} does not tell the state of {record.name}"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ProgramFailed(f"{problem}: its answer is no JSON ({text.strip()[:100]!r}).") from exc
    fields = value if isinstance(value, dict) else {}
    if fields.get("id") != record.runtime_id:
        raise ProgramFailed(f"{problem}: its answer is of another container ({str(fields.get('id'))[:100]!r}).")
    status, bundle = fields.get("status"), fields.get("bundle")
    if not isinstance(status, str) or status not in _STATUS:
        raise ProgramFailed(f"{problem}: it answers {str(status)[:100]!r}.")
    return State(_STATUS[status], bundle if isinstance(bundle, str) else None)
