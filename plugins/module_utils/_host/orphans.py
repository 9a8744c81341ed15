# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for the record of a container that has none any more."""

from __future__ import annotations

import contextlib
import typing as t

from .._base.errors import InvalidOption, MissingPrerequisite
from .._base.program import find_program
from .._runtime.drivers import DRIVERS
from .._state.model import CgroupManager, Definition, Program, Record
from .._state.phase import Phase
from .._state.store import Store
from .._trust import trust
from . import remembered

if t.TYPE_CHECKING:
    from .detect import Host


def orphans(store: Store, host: Host, name: str) -> list[Record]:
    """Stand-ins for the record of a container that has none any more, one for each runtime that may have its state."""
    try:
        conmon = host.conmon(None)
    except (InvalidOption, MissingPrerequisite):
        conmon = Program("conmon", "conmon", "unknown")
    return [
        Record(
            name=name, phase=Phase.CREATING, definition=Definition(bundle=""), config_digest="", runtime=program,
            runtime_root=f"{store.run_dir}/{program.name}", conmon=conmon, boot="",
            cgroup_manager=host.cgroup_manager(CgroupManager.AUTO), realm=store.realm,
        )
        for program in _runtimes(store)
    ]  # fmt: skip


def _runtimes(store: Store) -> list[Program]:
    """Return the runtimes that may have made a container in this run directory: those with a driver, and those that were asked for
    their version here."""
    found = [Program(name, find_program(name) or name, "unknown") for name in DRIVERS]
    for name, path in remembered.runtimes(store.run_dir).items():
        if name not in DRIVERS:
            # Only a trusted program may run. Without it, its leftovers are removed by processes, cgroups and files.
            with contextlib.suppress(InvalidOption):
                trust.check(path, "The runtime", missing=True)
                found.append(Program(name, path, "unknown"))
    return found
