# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Directories that root works in: none that another user can change. bin/hosts boots what is there, and runs it."""

from __future__ import annotations

import os
import subprocess
import sys

from .command import HostsError

_COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PROGRAM = os.path.join(_COLLECTION, "roles", "demo_bundle", "files", "own_directory.py")


def check(path: str) -> None:
    """Refuse a directory that another user can change; one that does not exist is fine."""
    _ask(path)


def make(path: str) -> None:
    """Make the directory where it is missing, and refuse one that another user can change."""
    _ask(path, "0755")


def _ask(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", _PROGRAM, *words], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode != 0:
        raise HostsError(done.stderr.strip())


__all__ = ("check", "make")
