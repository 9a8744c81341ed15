# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read versions of programs. Pure."""

from __future__ import annotations

import re

_VERSION = re.compile(r"^\S+ version (\S+)", re.MULTILINE)


def parse_version(text: str) -> str | None:
    """From what conmon, runc and crun say to ``--version``."""
    found = _VERSION.search(text)
    return found.group(1) if found else None


def numbers(version: str) -> tuple[int, ...]:
    """The first three numbers of a version, to compare it by."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
