# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of root with a user namespace, whose own root cannot get to the root file system: it lies below a directory
that is for others only (a home, 0700).

conmon is born in a mount namespace of its own then, in which the root file system is also where the container's root gets
to. Nothing has to be undone: all of it is gone with the last process in there, and the host never sees it.
"""

from __future__ import annotations

import json
import os
import typing as t

from .._base.errors import InvalidInput
from .._base.files import make_directory, write_text
from .._base.program import find_program
from .._state.store import Paths

Config = t.Mapping[str, t.Any]
# Mounts of the host go on to appear in there, and what is mounted there never appears on the host (mount_namespaces(7)).
_ENTER = ("--mount", "--propagation", "slave", "--", "/bin/sh", "-c")
_MOUNT = 'mount --rbind -- "$1" "$2" && shift 2 && exec "$@"'


def barrier(config: Config) -> str | None:
    """The directory that keeps the container's root from its root file system; None where there is none.

    Only for who is root and maps users: others own what they run.
    """
    owner = _owner(config)
    if os.geteuid() != 0 or owner is None:
        return None
    return _closed(os.path.realpath(config["root"]["path"]), owner)


def check(config: Config, paths: Paths, *, service: bool) -> None:
    """Raises InvalidInput where it cannot be done."""
    closed = barrier(config)
    if closed is None:
        return
    if service:
        raise InvalidInput(
            f"The root of the container cannot enter {closed}, which its root file system is in.",
            hint="A service needs it where that can: chmod o+x, or another place for the bundle.",
        )
    if find_program("unshare") is None:
        raise InvalidInput(f"The root of the container cannot enter {closed}, and unshare (util-linux) is missing.")
    # Our own directories are opened for it (enter), those above are not ours.
    above = _closed(os.path.dirname(os.path.dirname(os.path.dirname(paths.run))), _owner(config))
    if above is not None:
        raise InvalidInput(
            f"The root of the container can enter neither {closed} nor {above}.", hint="Choose another run_dir."
        )


def enter(config: Config, paths: Paths, argv: t.Sequence[str]) -> list[str]:
    """Prepare the place, and the config for the runtime, which has the root file system there. Returns the command line that
    runs ``argv`` with it in place."""
    owner = _owner(config) or (0, 0)
    for directory in (os.path.dirname(os.path.dirname(paths.run)), os.path.dirname(paths.run), paths.run):
        os.chmod(directory, 0o711)  # to go through, not to look around
    make_directory(paths.staged_root)
    os.chown(paths.staged_root, *owner)
    staged = {**config, "root": {**config["root"], "path": paths.staged_root}}
    write_text(f"{paths.bundle}/config.json", json.dumps(staged))
    unshare = find_program("unshare") or "unshare"
    return [unshare, *_ENTER, _MOUNT, "sh", config["root"]["path"], paths.staged_root, *argv]


def _owner(config: Config) -> tuple[int, int] | None:
    """User and group of the host that are root in there."""
    linux = config.get("linux") or {}
    kinds = {namespace.get("type") for namespace in linux.get("namespaces") or []}
    user, group = _host_id(linux.get("uidMappings")), _host_id(linux.get("gidMappings"))
    return None if "user" not in kinds or user is None or group is None else (user, group)


def _host_id(mappings: t.Sequence[t.Mapping[str, int]] | None) -> int | None:
    return next((int(each["hostID"]) for each in mappings or () if each.get("containerID") == 0), None)


def _closed(path: str, owner: tuple[int, int] | None) -> str | None:
    """The first directory on the way to ``path``, itself included, that this user may not go through."""
    user, group = owner or (0, 0)
    way = "/"
    for part in ["", *path.strip("/").split("/")]:
        way = os.path.join(way, part)
        stat = os.stat(way)
        bit = 0o100 if stat.st_uid == user else 0o010 if stat.st_gid == group else 0o001
        if not stat.st_mode & bit:
            return way
    return None
