# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Writes docs/compatibility.md: what ran on which kind of host, with which versions, and how it ended."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_HEAD = """\
<!-- Copyright (c) Longshore contributors -->
<!-- SPDX-License-Identifier: GPL-3.0-or-later -->

# What runs where

Written by `bin/test --hosts all` on {date}. Each target of `tests/integration/targets` ran over ssh on each kind of host, once
for each runtime and user (`app` is an unprivileged user with a systemd user session). Versions are what the hosts said.

`-` is what is not for that user: the examples and the role install packages or need root otherwise, and the scenario "no
session" takes a user of its own. For `app`, `oci_container` leaves out the tests that need root themselves: cgroups and slices
made by hand, and counting the programs that a task starts. The hosts have no memory controller (the kernel has it in cgroup
v1), so the OOM kill is tested on the machine that runs the tests.

"""


class Row(NamedTuple):
    kind: str
    versions: Mapping[str, str]
    runtime: str
    user: str
    target: str
    outcome: str  # passed or failed


def render(rows: Sequence[Row], date: str) -> str:
    targets = sorted({row.target for row in rows})
    combinations = list(dict.fromkeys((row.kind, row.runtime, row.user) for row in rows))
    versions = {row.kind: row.versions for row in rows}
    lines = [_HEAD.format(date=date)]
    columns = ["host", "systemd", "conmon", "runtime", "user", *targets]
    lines += [_line(columns), _line(["---"] * len(columns))]
    outcomes = {(row.kind, row.runtime, row.user, row.target): row.outcome for row in rows}
    for kind, runtime, user in combinations:
        known = versions[kind]
        cells = [kind, known["systemd"], known["conmon"], f"{runtime} {known[runtime]}", user]
        lines.append(_line(cells + [outcomes.get((kind, runtime, user, target), "-") for target in targets]))
    return "".join(lines)


def write(path: str, rows: Sequence[Row]) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(render(rows, datetime.date.today().isoformat()))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
