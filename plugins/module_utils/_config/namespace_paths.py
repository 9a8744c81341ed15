# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of namespaces that a container joins: those that lead through a process are refused."""

from __future__ import annotations

import os
import re

from .._base.errors import InvalidOption

# The namespaces that can be shared by the name of a container: from the word of the runtime-spec to that of /proc/PID/ns.
KINDS = {"network": "net", "pid": "pid", "ipc": "ipc", "uts": "uts"}
_PROCESS = re.compile(r"/proc/(\d+|self|thread-self)(/.*)?")
_NAMESPACE = re.compile(r"[a-z_]+:\[\d+\]")  # the target of a link in /proc/PID/ns
_MOST_LINKS = 40  # as the kernel


def check_path(kind: str, path: str, hint: str) -> None:
    """Raises InvalidOption for a path with the pid of a process, because another process may get this pid later."""
    if is_of_process(path):
        message = (
            f"The {kind} namespace {path} is named by the number of a process, which may be another process later."
        )
        raise InvalidOption(message, hint=hint)


def is_of_process(path: str) -> bool:
    """Tell whether a path leads, also through links, through the directory of a process in /proc."""
    place, links, left = "/", 0, [word for word in reversed(path.split("/")) if word]
    while left:
        word = left.pop()
        place = os.path.dirname(place) if word == ".." else os.path.normpath(f"{place}/{word}")
        place = f"/{place.lstrip('/')}"
        if _PROCESS.fullmatch(place):
            return True
        if not os.path.islink(place):
            continue
        target, links = os.readlink(place), links + 1
        if _NAMESPACE.fullmatch(target) or links > _MOST_LINKS:  # of a procfs at another path
            return True
        place = "/" if target.startswith("/") else os.path.dirname(place)
        left += [part for part in reversed(target.split("/")) if part]
    return False
