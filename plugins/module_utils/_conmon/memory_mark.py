# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read conmon's mark of a container, or of a command in it, for which memory ran out."""

from __future__ import annotations

import os

from .._state.store import Paths


def memory_ran_out(paths: Paths) -> bool:
    """Tell whether the kernel has killed a process of the container meanwhile, because memory ran out.

    conmon 2.1.6 leaves the mark in its working directory, which is the bundle; later ones in the persist directory, which earlier
    releases had in the state directory.
    """
    return any(os.path.exists(f"{place}/oom") for place in (paths.exits, paths.persist, paths.bundle))
