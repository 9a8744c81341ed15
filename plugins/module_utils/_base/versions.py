# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read versions of programs. Pure."""

from __future__ import annotations

import re

# The colon is youki's. A line that begins with more words than one is of a program that calls another: the line of that follows.
_VERSION = re.compile(r"^(\w[\w.+-]*) version:? (\S+)", re.MULTILINE | re.ASCII)


def parse_program(text: str) -> tuple[str, str] | None:
    """Return name and version of a program, from its answer to ``--version``; None for another form."""
    found = _VERSION.search(text)
    return (found[1], found[2]) if found else None


def numbers(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version, for comparisons."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
