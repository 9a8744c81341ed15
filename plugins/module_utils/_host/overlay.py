# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read of a table of mounts which overlay a root file system is."""

from __future__ import annotations

import os
import re
import typing as t

from .._base.mountinfo import Mount, plain


class Overlay(t.NamedTuple):
    """A mounted overlay: its directories, the uppermost of the lower ones first, and all its options as mount(8) takes them."""

    upper: str
    lower: tuple[str, ...]
    options: tuple[str, ...]


def overlay_at(root: str, mounts: t.Iterable[Mount]) -> Overlay | None:
    """Return the overlay that is mounted at a real path; None where the uppermost mount there is not one that can be written to."""
    here = [mount for mount in mounts if mount.place == root]
    if not here or here[-1].kind != "overlay":
        return None
    # A label of SELinux has a comma, and is in quotes.
    options = re.findall(r'(?:[^,"]|"[^"]*")+', here[-1].super_options)
    values = dict(option.partition("=")[::2] for option in options)
    upper = _plain(values.get("upperdir", ""))
    if not upper.startswith("/"):
        return None
    # A colon in a name is \072 since Linux 6.8; before, it is as it was given to mount(2), after a backslash.
    lower = re.split(r"(?<!\\134):", values.get("lowerdir", ""))
    return Overlay(upper, tuple(_plain(path).replace("\\:", ":") for path in lower), tuple(map(_plain, options)))


def _plain(text: str) -> str:
    return plain(os.fsencode(text))
