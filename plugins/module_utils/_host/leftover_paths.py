# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what a container without a record has left."""

from __future__ import annotations

import os

from .._runtime.drivers import DRIVERS
from .._state import names
from .._state.store import Store
from .remembered import runtimes


def leftovers(store: Store, name: str) -> list[str]:
    """Return the paths that stand in the way: a damaged record, or files of ours in the run directory."""
    paths = store.paths(name)
    places = [paths.state, paths.run, names.service_path(name, store.realm)]
    places += [f"{store.run_dir}/{runtime}/{name}" for runtime in {**DRIVERS, **runtimes(store.run_dir)}]
    return [place for place in places if os.path.lexists(place)]
