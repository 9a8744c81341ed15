# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Which versions a host has, as its own programs tell."""

from __future__ import annotations

import re

from .access import output_of
from .fleet import Fleet, Host

PROGRAMS = ("systemd", "conmon", "runc", "crun", "criu")

# One line for each program: its name, then whatever it says of its version.
_ASK = """\
echo "systemd $(systemctl --version | head -n 1)"
for program in conmon runc crun criu; do
    echo "$program $($program --version 2>&1 | head -n 1)"
done
"""


def parse(text: str) -> dict[str, str]:
    """The first thing in each line that begins like a number with dots is the version."""
    versions = {}
    for line in text.splitlines():
        program, _blank, words = line.partition(" ")
        match = re.search(r"\b\d+(\.\d+)*", words)
        if program in PROGRAMS:
            versions[program] = match[0] if match else "none"
    return versions


def versions_of(fleet: Fleet, host: Host) -> dict[str, str]:
    return parse(output_of(fleet, host, "sh", "-c", _ASK))


__all__ = ("PROGRAMS", "parse", "versions_of")
