# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find mounts of a container whose source was replaced on the host, such as a file by another one with its name.

A bind mount is of a file or directory, and not of its name: the container keeps the former one until it is created again. The kernel
tells both in tables of mounts, by the path in the file system, so that no source is touched, except to resolve links.
"""

from __future__ import annotations

import os
import typing as t

from .._base import mountinfo

_GONE = "//deleted"  # as the kernel ends such a path


def replaced(
    config: t.Mapping[str, t.Any], inside: t.Sequence[mountinfo.Mount], here: t.Sequence[mountinfo.Mount]
) -> list[str]:
    """Return the places of these mounts in the container. ``inside`` and ``here`` are the tables of its first process and of the host."""
    binds = [mount for mount in config.get("mounts") or [] if _is_bind(mount)]
    return [str(mount["destination"]) for mount in binds if _is_replaced(mount, inside, here)]


def _is_bind(mount: t.Mapping[str, t.Any]) -> bool:
    words = {mount.get("type"), *(mount.get("options") or ())}
    return bool({"bind", "rbind"} & words) and str(mount.get("source") or "").startswith("/")


def _is_replaced(
    mount: t.Mapping[str, t.Any], inside: t.Sequence[mountinfo.Mount], here: t.Sequence[mountinfo.Mount]
) -> bool:
    source, place = _resolved(mount["source"], here), os.path.normpath(mount["destination"])
    expected = None if source is None else _origin(source, here)
    every = [(each.device, each.root) for each in inside]
    if expected is None or expected in every:
        return False
    former = (expected[0], f"{expected[1]}{_GONE}")
    # Without a mount at the place, a link in the root file system leads to it.
    return former in every or any(each.place == place for each in inside)


def _resolved(path: str, mounts: t.Sequence[mountinfo.Mount]) -> str | None:
    """Return a path of the host without links, as the runtime finds it, or None if a server, which may be gone, has a part of it."""
    todo, at, links = path.split("/")[::-1], "", 0
    while todo:
        word = todo.pop()
        if word in ("", "."):
            continue
        if word == "..":
            at = at.rpartition("/")[0]
            continue
        if _origin(f"{at}/{word}", mounts) is None:
            return None
        try:
            target = os.readlink(f"{at}/{word}")
        except OSError:  # It is not a link, or does not exist.
            at = f"{at}/{word}"
            continue
        links += 1
        if links > 40:
            return None
        at = "" if target.startswith("/") else at
        todo += target.split("/")[::-1]
    return at or "/"


def _origin(path: str, mounts: t.Sequence[mountinfo.Mount]) -> tuple[str, str] | None:
    """Return the device of a path of the host, and the path in its file system, or None if only a server knows that."""
    found: mountinfo.Mount | None = None
    for each in mounts:  # The last one at a place is the one that is seen.
        below = f"{path.rstrip('/')}/".startswith(f"{each.place.rstrip('/')}/")
        if below and (found is None or len(each.place) >= len(found.place)):
            found = each
    if found is None or mountinfo.is_remote(found.kind):
        return None
    rest = path[len(found.place.rstrip("/")) :]
    return found.device, f"{found.root.rstrip('/')}{rest}".rstrip("/") or "/"
