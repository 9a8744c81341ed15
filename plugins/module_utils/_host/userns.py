# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run containers of root with a user namespace whose root cannot reach the root file system, because a directory above (such
as a home, 0700) is closed to it.

conmon then starts in its own mount namespace, where the root file system is also mounted at a path that the container's root
can reach. No cleanup is needed: the mount ends with the last process in the namespace, and is not visible on the host.
"""

from __future__ import annotations

import json
import os
import typing as t

from .._base.errors import InvalidOption, MissingPrerequisite
from .._base.files import make_directory, write_text
from .._base.program import find_program
from .._config.namespaces import namespaces_of
from .._state.store import Paths

Config = t.Mapping[str, t.Any]
# New mounts of the host also appear there, and mounts there never appear on the host (mount_namespaces(7)).
_ENTER = ("--mount", "--propagation", "slave", "--", "/bin/sh", "-c")
_MOUNT = 'mount --rbind -- "$1" "$2" && shift 2 && exec "$@"'


def barrier(config: Config) -> str | None:
    """Return the directory that the container's root cannot enter on the way to its root file system, or None.

    Only for root with mapped users, because other users own the files of their containers.
    """
    owner = _owner(config)
    if os.geteuid() != 0 or owner is None:
        return None
    return _closed(os.path.realpath(config["root"]["path"]), owner)


def check(config: Config, paths: Paths) -> None:
    """Raises InvalidOption or MissingPrerequisite if this is needed and not possible."""
    closed = barrier(config)
    if closed is None:
        return
    if find_program("unshare") is None:
        raise MissingPrerequisite(
            f"The root of the container cannot enter {closed}, and unshare (util-linux) is missing."
        )
    # enter() opens Longshore's own directories for it, but not those above.
    above = _closed(os.path.dirname(os.path.dirname(os.path.dirname(paths.run))), _owner(config))
    if above is not None:
        hint = "Choose another run_dir."
        raise InvalidOption(f"The root of the container can enter neither {closed} nor {above}.", hint=hint)


def enter(config: Config, paths: Paths, argv: t.Sequence[str]) -> list[str]:
    """Create the mount point, and the config for the runtime with the root file system there. Return the command line that
    runs ``argv`` with the mount."""
    owner = _owner(config) or (0, 0)
    for directory in (os.path.dirname(os.path.dirname(paths.run)), os.path.dirname(paths.run), paths.run):
        os.chmod(directory, 0o711)  # search permission only
    make_directory(paths.staged_root)
    os.chown(paths.staged_root, *owner)
    staged = {**config, "root": {**config["root"], "path": paths.staged_root}}
    write_text(f"{paths.bundle}/config.json", json.dumps(staged))
    unshare = find_program("unshare") or "unshare"
    return [unshare, *_ENTER, _MOUNT, "sh", config["root"]["path"], paths.staged_root, *argv]


def _owner(config: Config) -> tuple[int, int] | None:
    """Return the user and group of the host that are root in the container."""
    linux = config.get("linux") or {}
    user, group = _host_id(linux.get("uidMappings")), _host_id(linux.get("gidMappings"))
    return None if "user" not in namespaces_of(config) or user is None or group is None else (user, group)


def _host_id(mappings: t.Sequence[t.Mapping[str, int]] | None) -> int | None:
    return next((int(each["hostID"]) for each in mappings or () if each.get("containerID") == 0), None)


def _closed(path: str, owner: tuple[int, int] | None) -> str | None:
    """Return the first directory of ``path``, including itself, that this user cannot enter."""
    user, group = owner or (0, 0)
    way = "/"
    for part in ["", *path.strip("/").split("/")]:
        way = os.path.join(way, part)
        stat = os.stat(way)
        bit = 0o100 if stat.st_uid == user else 0o010 if stat.st_gid == group else 0o001
        if not stat.st_mode & bit:
            return way
    return None
