# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the end of the log of a container. A log outlives its container, so lines of an earlier container with the name are left out."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import typing as t

from .._base.deadline import Deadline
from .._base.errors import LongshoreError
from .._base.files import read_tail
from .._base.program import find_program, run
from .._state.model import LogDriver, Record

_MOST_BYTES = 1 << 18
_MOST_IN_LINE = 1000  # characters
_SECONDS = 10  # for journalctl
_MOST_OF_JOURNAL = 16 << 20
_MESSAGE, _PARTIAL = "MESSAGE", "CONTAINER_PARTIAL_MESSAGE"
# ctr_logging.c: TIME STREAM F|P TEXT, where P means that the line has more than this
_LINE = re.compile(r"(\S+) (stdout|stderr) ([FP])(?: (.*))?", re.DOTALL)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


def log_end(record: Record, *, lines: int) -> list[str]:
    """Return the last lines that this container wrote, without what the log says of them. Empty if there are none, or no log."""
    since = _seconds(record.created_at or "")
    if since is None:  # It has not been created, so all lines are of another one.
        return []
    if record.definition.log_driver is LogDriver.JOURNALD:
        return _shortened(_journal(record, since, lines))
    found = read_tail(record.log_path, lines=_MOST_BYTES, limit=_MOST_BYTES) if record.log_path else []
    if record.definition.log_driver is LogDriver.K8S_FILE:
        found = texts(found, since)
    return _shortened(found[-lines:])


def texts(found: t.Iterable[str], since: float) -> list[str]:
    """Return the text of the lines of a k8s-file log since a moment. Pure."""
    lines: list[str] = []
    open_lines: dict[str, int] = {}  # by stream: the line that continues
    for line in found:
        parts = _LINE.fullmatch(line)
        moment = _seconds(parts[1]) if parts else None
        if parts is None or moment is None or moment < since:
            continue
        stream, text = parts[2], parts[4] or ""
        if stream in open_lines:
            lines[open_lines[stream]] += text
        else:
            open_lines[stream] = len(lines)
            lines.append(text)
        if parts[3] == "F":
            del open_lines[stream]
    return lines


def _journal(record: Record, since: float, lines: int) -> list[str]:
    """Return the lines in the journal. Only the user of the container writes entries with this ``_UID``."""
    path = find_program("journalctl")
    if path is None:
        return []
    argv = [
        path, "--quiet", "--no-pager", "--all", "--output=json", f"--output-fields={_MESSAGE},{_PARTIAL}", f"--lines={lines}", f"--since=@{since:.6f}",
        f"CONTAINER_ID_FULL={record.runtime_id}", f"_UID={os.geteuid()}",
    ]  # fmt: skip
    with contextlib.suppress(LongshoreError):
        return messages(run(argv, Deadline(_SECONDS), what="read the journal", most=_MOST_OF_JOURNAL).stdout)
    return []


def messages(text: str) -> list[str]:
    """Return the lines in entries of the journal, in JSON. Pure. conmon keeps the end of a line in its message (ctr_logging.c)."""
    found = ""
    for line in text.split("\n"):
        try:
            entry = json.loads(line or "null") or {}
        except ValueError:  # It is cut off.
            continue
        message = entry.get(_MESSAGE) or ""
        if isinstance(message, list):  # It is not UTF-8.
            message = bytes(message).decode("utf-8", "replace")
        ends = message.endswith("\n") or _PARTIAL in entry or not entry
        found += message if ends else f"{message}\n"
    return found.removesuffix("\n").split("\n") if found else []


def _seconds(text: str) -> float | None:
    """Return the moment that a text in the form of RFC 3339 names, with up to nine digits of a second."""
    parts = _TIME.fullmatch(text)
    if parts is None:
        return None
    zone = "+00:00" if parts[3] == "Z" else parts[3]
    with contextlib.suppress(ValueError):
        return datetime.datetime.fromisoformat(f"{parts[1]}.{(parts[2] or '0')[:6]:0<6}{zone}").timestamp()
    return None


def _shortened(lines: list[str]) -> list[str]:
    return [line if len(line) <= _MOST_IN_LINE else f"{line[:_MOST_IN_LINE]} [...]" for line in lines]
