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
    """Return the file with the exit code of the latest run, None if there is none."""
    return written(paths_of(record, paths))


def paths_of(record: Record, paths: Paths) -> list[str]:
    """Return the possible files. Earlier releases gave conmon the two directories the other way round."""
    return [f"{place}/{name}" for place in (paths.exits, paths.persist) for name in ("exit", record.runtime_id)]


def written(files: t.Iterable[str]) -> str | None:
    """Return the first file with a number in it; a full file system leaves empty ones."""
    for path in files:
        if re.fullmatch(r"-?[0-9]+", (read_text(path) or "").strip()):
            return path
    return None
