# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of shared namespaces in a config.

``container:NAME`` instead of a path is an extension of Longshore. No other program accepts it, so none can join a wrong
namespace because of it. The config of a launch has a path in the run directory instead, which leads to the namespace for
exactly this launch.
"""

from __future__ import annotations

import os
import re
import typing as t

from .._base.errors import InvalidInput

PEER = "container:"
# The namespaces that can be shared by the name of a container: from the word of the runtime-spec to that of /proc/PID/ns.
KINDS = {"network": "net", "pid": "pid", "ipc": "ipc", "uts": "uts"}
_PROCESS = re.compile(r"/proc/(\d+|self|thread-self)(/.*)?")
_NAMESPACE = re.compile(r"[a-z_]+:\[\d+\]")  # the target of a link in /proc/PID/ns
_MOST_LINKS = 40  # as the kernel


def check_path(kind: str, path: str, hint: str) -> None:
    """Raises InvalidInput for a path with the pid of a process, because another process may get this pid later."""
    if is_of_process(path):
        message = (
            f"The {kind} namespace {path} is named by the number of a process, which may be another process later."
        )
        raise InvalidInput(message, hint=hint)


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


def by_name(config: t.Mapping[str, t.Any], directory: str) -> dict[str, t.Any]:
    """Return the config of a launch, whose shared namespaces are in ``directory``, with ``container:NAME`` instead."""

    def change(kind: str, path: str) -> str:
        front = f"{directory}/{kind}/"
        return PEER + path[len(front) :] if path.startswith(front) else path

    return _changed(config, change)


def by_path(config: t.Mapping[str, t.Any], directory: str) -> dict[str, t.Any]:
    """Return a config with paths in ``directory`` instead of ``container:NAME``. Each launch creates these paths."""
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
