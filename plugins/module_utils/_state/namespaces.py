# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Namespaces that a container shares with others: how a config names them.

``container:NAME`` in the place of a path is ours. No other program takes it, so nothing joins the wrong namespace by it. The
config of a launch has a path in our run directory for it, which leads to the namespace of just that launch (namespaces.py).
"""

from __future__ import annotations

import os
import re
import typing as t

from .._base.errors import InvalidInput

PEER = "container:"
# By the word of the runtime-spec: those that can be shared by the name of a container, as /proc/PID/ns has them.
KINDS = {"network": "net", "pid": "pid", "ipc": "ipc", "uts": "uts"}
_PROCESS = re.compile(r"/proc/(\d+|self|thread-self)(/.*)?")
_NAMESPACE = re.compile(r"[a-z_]+:\[\d+\]")  # what a link in /proc/PID/ns says
_MOST_LINKS = 40  # as the kernel


def check_path(kind: str, path: str, hint: str) -> None:
    """Raises InvalidInput for a path by the number of a process: the number will be another's one day."""
    if is_of_process(path):
        message = (
            f"The {kind} namespace {path} is named by the number of a process, which may be another process later."
        )
        raise InvalidInput(message, hint=hint)


def is_of_process(path: str) -> bool:
    """Whether a path leads through the directory of a process in /proc, by links too, wherever it ends."""
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
        if _NAMESPACE.fullmatch(target) or links > _MOST_LINKS:  # the procfs of another place
            return True
        place = "/" if target.startswith("/") else os.path.dirname(place)
        left += [part for part in reversed(target.split("/")) if part]
    return False


def by_name(config: t.Mapping[str, t.Any], directory: str) -> dict[str, t.Any]:
    """The config of a launch (whose shared namespaces are in ``directory``) as it can be had anywhere: with ``container:NAME``."""

    def change(kind: str, path: str) -> str:
        front = f"{directory}/{kind}/"
        return PEER + path[len(front) :] if path.startswith(front) else path

    return _changed(config, change)


def by_path(config: t.Mapping[str, t.Any], directory: str) -> dict[str, t.Any]:
    """The other way round. The path says whose namespace it is, and each launch puts it there."""
    return _changed(
        config, lambda kind, path: f"{directory}/{kind}/{path[len(PEER) :]}" if path.startswith(PEER) else path
    )


def _changed(config: t.Mapping[str, t.Any], change: t.Callable[[str, str], str]) -> dict[str, t.Any]:
    linux = config.get("linux") or {}
    spaces = [
        {**each, "path": change(each.get("type", ""), each["path"])} if each.get("path") else each
        for each in linux.get("namespaces") or []
    ]
    return {**config, "linux": {**linux, "namespaces": spaces}} if spaces else dict(config)
