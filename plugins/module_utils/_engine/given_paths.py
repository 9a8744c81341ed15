# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths that a task gives for a container, and the commands that will run as this user: nobody else may change them.

conmon and the runtime open these by name, some of them again and again, and follow what they find there.
"""

from __future__ import annotations

import os
import stat
import typing as t

from . import trust
from .container import Definition
from .errors import InvalidInput


def check(definition: Definition, hooks: t.Any) -> None:
    """Raises InvalidInput. ``hooks`` are those of the config, as the bundle has them."""
    if definition.runtime_root is not None:
        trust.check(definition.runtime_root, "runtime_root", missing=True)
        if definition.service:
            # The script makes it, at boot. Whatever is in a directory like /tmp may be another user's by then.
            trust.check(
                os.path.dirname(definition.runtime_root.rstrip("/")), "runtime_root: the directory", missing=True
            )
    if definition.conmon_pidfile is not None:
        _check_file(definition.conmon_pidfile, "conmon_pidfile")
    if definition.log_path is not None:
        _check_log(definition.log_path, definition.log_driver)
    commands = [*definition.exit_command[:1]]
    for kind, entries in hooks.items() if isinstance(hooks, dict) else ():
        # A hook startContainer is a program of the container's.
        if kind != "startContainer" and isinstance(entries, list):
            commands += [str(each.get("path")) for each in entries if isinstance(each, dict)]
    for path in commands:
        if path.startswith("/"):
            trust.check(path, "The command")


def _check_log(path: str, driver: str) -> None:
    if driver not in ("k8s-file", "passthrough"):
        raise InvalidInput(f"log_path does not go with the log driver {driver}, which writes no file.")
    if not os.path.isdir(os.path.dirname(path)):
        raise InvalidInput(f"The directory of the log {path} does not exist.")
    _check_file(path, "log_path")


def _check_file(path: str, what: str) -> None:
    """A file that conmon writes. Its directory must not even be like /tmp: conmon follows a link that another user makes there
    before it does."""
    # conmon opens the log before anything else, and hangs in that for ever on a FIFO that nobody reads.
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise InvalidInput(f"{what}: {path} is not a regular file.", hint="Name another, or remove it.")
    trust.check(os.path.dirname(path), f"{what}: the directory", missing=True, log=True)
    trust.check(path, f"{what}:", missing=True, log=True)
