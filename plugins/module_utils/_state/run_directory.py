# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that a run directory belongs to this state directory, and not to another."""

from __future__ import annotations

import os

from .._base.errors import Conflict
from .._base.process import is_alive
from .model import Record
from .store import Store, link


def check_run(store: Store, name: str, record: Record | None) -> None:
    """Raise Conflict if the run directory has the container of another state directory, or the container runs with another run
    directory: actions would change the wrong container."""
    paths = store.paths(name)
    owner = link(paths.owner) or os.path.dirname(link(f"{paths.bundle}/config.json") or "")
    if owner and os.path.realpath(owner) != os.path.realpath(paths.state) and os.path.exists(f"{owner}/record.json"):
        hint = "Use a separate run_dir for each state_dir, or choose another name."
        raise Conflict(f"{paths.run} belongs to the container {name} in another state directory: {owner}.", hint=hint)
    if record and record.definition.runtime_root is None and is_alive(record.init):
        there = os.path.dirname(record.runtime_root)
        if os.path.realpath(there) != os.path.realpath(store.run_dir):
            raise Conflict(f"The container {name} runs with run_dir {there}, not {store.run_dir}.", hint="Use that.")
