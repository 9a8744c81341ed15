# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the answers of programs to ``--version`` that earlier tasks saved in the run directory.

Each program has a key for its version, made of its path and the result of stat(2) for its file. Each runtime has a
second key for the name that it reports. Earlier releases read and write only keys of the first kind, and preserve those
of the second.
"""

from __future__ import annotations

from .._base.files import read_json

NAME = " name"  # the end of the key


def load(run_dir: str) -> dict[str, str]:
    """Return the answers by key; an empty dictionary if the file is missing or damaged."""
    found = read_json(f"{run_dir}/programs.json") or {}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def runtimes(run_dir: str) -> dict[str, str]:
    """Return the paths of the runtimes that were used with a run directory, by name."""
    return {name: key.rsplit(" ", 4)[0] for key, name in load(run_dir).items() if key.endswith(NAME)}
