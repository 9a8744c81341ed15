# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs have answered to ``--version``, as the run directory has it.

Each program has a key for its version, made of its path and what stat(2) tells of its file. Each runtime has one more for the
name that it gives itself. Earlier releases read and write the former alone, and keep the latter.
"""

from __future__ import annotations

from .._base.files import read_json

NAME = " name"  # the end of the key


def load(run_dir: str) -> dict[str, str]:
    """Return the answers by key; none where the file is missing or damaged."""
    found = read_json(f"{run_dir}/programs.json") or {}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def runtimes(run_dir: str) -> dict[str, str]:
    """Return the paths of the runtimes that were used with a run directory, by name."""
    return {name: key.rsplit(" ", 4)[0] for key, name in load(run_dir).items() if key.endswith(NAME)}
