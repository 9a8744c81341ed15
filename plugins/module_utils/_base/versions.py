# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read versions of programs. Pure."""

from __future__ import annotations

import re

_VERSION = re.compile(r"^\S+ version (\S+)", re.MULTILINE)


def parse_version(text: str) -> str | None:
    """Return the version from the output of conmon, runc or crun for ``--version``."""
    found = _VERSION.search(text)
    return found.group(1) if found else None


def numbers(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version, for comparisons."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
