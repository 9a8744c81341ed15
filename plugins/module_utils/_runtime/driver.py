# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts about a runtime that the engine acts on. Each known runtime has a file with one Driver in it."""

from __future__ import annotations

import typing as t


class Driver(t.NamedTuple):
    """The defaults are the careful ones, for a runtime that has no driver of its own."""

    name: str = ""  # the first word of --version
    # The files of a container in ROOT/ID. None: only the command ``state`` tells.
    created_file: str | None = None  # is there from create to start
    state_file: str | None = None  # JSON with the bundle in it
    # In exec.
    reads_accounts: bool = True  # opens /etc/passwd and /etc/group of the container for every command
    groups_need_root: bool = False  # refuses additional groups that another user than root asks for
    refuses_hybrid: bool = False
    # The first release that knows recursive options of mounts, such as rro. An older one ignores them. (): none is known to do so.
    recursive_mounts: tuple[int, ...] = ()
