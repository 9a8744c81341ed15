# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read how a container ended from the files that conmon leaves."""

from __future__ import annotations

import re
import typing as t

from .._base.files import read_text
from .._state.model import Record
from .._state.store import Paths

# How long conmon may take from the death of the container to its exit file, and then to its own end.
EXIT_FILE_SECONDS = 5.0


def exit_file(record: Record, paths: Paths) -> str | None:
    """Where the exit code of the latest run is, if there is one."""
    return written(paths_of(record, paths))


def paths_of(record: Record, paths: Paths) -> tuple[str, str]:
    return f"{paths.exits}/{record.runtime_id}", f"{paths.persist}/exit"


def written(files: t.Iterable[str]) -> str | None:
    """The first file with a number in it; a full file system leaves empty ones."""
    for path in files:
        if re.fullmatch(r"-?[0-9]+", (read_text(path) or "").strip()):
            return path
    return None
