# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Writes docs/compatibility.md: what ran on which kind of host, with which versions, and how it ended."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_HEAD = """\
<!-- Copyright (c) Longshore contributors -->
<!-- SPDX-License-Identifier: GPL-3.0-or-later -->

# Where it runs

Written by `bin/test hosts --hosts KIND,...`, which replaces the rows of those kinds, or `--hosts all`; with names of targets it
replaces those only. A row has the date of its latest run. Each target of
`tests/integration/targets` ran over ssh on each kind of host, once for each runtime and user (`app` is an unprivileged user with
a systemd user session). Versions are what the hosts said.

`-` is what is not for that user: the examples and the role install packages or need root otherwise, and the scenario "no
session" takes a user of its own. For `app`, `oci_container` leaves out the tests that need root themselves: cgroups and slices
made by hand, and counting the programs that a task starts. The hosts have no memory controller (the kernel has it in cgroup
v1), so the OOM kill is tested on the machine that runs the tests. SELinux is not enabled in that kernel: what is done where it is (the
level of conmon, labels of logs, checkpoints and sockets) is covered by unit tests on recorded attributes.

"""
_ABOUT = ("host", "date", "systemd", "conmon", "runtime", "user")


class Row(NamedTuple):
    kind: str
    versions: Mapping[str, str]
    runtime: str
    user: str
    target: str
    outcome: str  # passed or failed


def merge(text: str, rows: Sequence[Row], date: str, *, whole: bool = True) -> str:
    """The document with the rows of the kinds that ran instead of those of an earlier run; of one that was not the
    ``whole`` of it only its targets."""
    table = _parse(text)
    if whole:
        table = [line for line in table if line["host"] not in {row.kind for row in rows}]
    for row in rows:
        about = {
            "host": row.kind, "date": date, "systemd": row.versions["systemd"], "conmon": row.versions["conmon"],
            "runtime": f"{row.runtime} {row.versions[row.runtime]}", "user": row.user,
        }  # fmt: skip
        known = [key for key in _ABOUT if key != "date"]
        line = next((line for line in table if all(line[key] == about[key] for key in known)), None)
        if line is None:
            line = about
            table.append(line)
        line["date"] = date
        line[row.target] = row.outcome
    targets = sorted({key for line in table for key in line} - set(_ABOUT))
    columns = [*_ABOUT, *targets]
    cells = [[line.get(column, "-") for column in columns] for line in table]
    return _HEAD + "".join(f"| {' | '.join(line)} |\n" for line in (columns, ["---"] * len(columns), *cells))


def _parse(text: str) -> list[dict[str, str]]:
    lines = [
        [cell.strip() for cell in line.strip("|\n ").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return [dict(zip(lines[0], line)) for line in lines[2:]]


def write(path: str, rows: Sequence[Row], *, whole: bool) -> None:
    text = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(merge(text, rows, datetime.date.today().isoformat(), whole=whole))
