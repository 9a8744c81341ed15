# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories deeper than a recursion, the number of descriptors and the length of a path allow."""

from __future__ import annotations

import os
import pathlib


def deepen(top: pathlib.Path, depth: int = 3000, name: str = "d", file: bool = True) -> None:
    """Make directories one in the other, with a file in the innermost."""
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _level in range(depth):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    if file:
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
