# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse to dump a container with a mount that CRIU cannot dump or restore."""

from __future__ import annotations

import contextlib
import typing as t

from .._archive.rights import is_bind
from .._base import mountinfo
from .._base.errors import WrongState
from .._base.versions import numbers
from .._criu.criu_support import SUPPORT
from .._state.model import Program, Record

Config = t.Mapping[str, t.Any]
_DELETED = "//deleted"


def check_mounts(record: Record, config: Config) -> None:
    """Raises WrongState for a mount of a running container that a checkpoint would lose, or that its runtime cannot describe."""
    found: list[mountinfo.Mount] = []
    if record.init is not None:
        with contextlib.suppress(OSError):  # It has just ended.
            found = mountinfo.read(f"/proc/{record.init.pid}/mountinfo")
    check_sources(record.name, config, found)
    check_places(record.name, record.runtime, config, found)


def check_sources(name: str, config: Config, found: t.Sequence[mountinfo.Mount]) -> None:
    """Refuse a mount whose source was removed, or replaced by a rename, as most programs write a file. Pure.

    CRIU (mount-v2.c) would create the source again in the restore, which fails if it exists. If it does not, the runtime fails.
    """
    own = {mount.device for mount in found if mount.root == "/" and mount.kind == "tmpfs"}
    places = {str(mount.get("destination")) for mount in config.get("mounts") or [] if is_bind(mount)}
    for mount in found:
        if mount.root.endswith(_DELETED) and (mount.place in places or mount.device not in own):
            raise WrongState(
                f"The container {name} cannot be checkpointed: {mount.root[: -len(_DELETED)]}, which is mounted at {mount.place}, was "
                "removed or replaced after the start of the container, and CRIU could not restore the mount.",
                hint="Restart the container (state: restarted of oci_container). It then has the present file or directory.",
            )


def check_places(name: str, runtime: Program, config: Config, found: t.Sequence[mountinfo.Mount]) -> None:
    """Refuse a destination that leads over a symbolic link, if the runtime tells CRIU the destination as it is in the config."""
    support, places = SUPPORT.get(runtime.name), {mount.place for mount in found}
    if support is None or numbers(runtime.version) >= support.resolves_places or not found:
        return
    from .._config import program_file

    for mount in config.get("mounts") or []:
        where = str(mount.get("destination"))
        if where in places or not is_bind(mount):
            continue
        with contextlib.suppress(OSError, program_file.Unknown):
            real = program_file.tree_of(config).resolve(where, missing=True)
            if real != where and real in places:
                since = ".".join(map(str, support.resolves_places))
                raise WrongState(
                    f"The container {name} cannot be checkpointed: its mount at {where} is at {real} in its root file system, and "
                    f"{runtime.name} {runtime.version} tells CRIU only {where}.",
                    hint=f"Use {real} as the destination of the mount, or {runtime.name} {since} or newer.",
                )
