# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that names on the host, of cgroups and units, belong to this container, and not to one of another state directory."""

from __future__ import annotations

import os

from .._base.errors import Conflict
from .._base.files import read_text, remove_tree
from .._base.process import in_pid_file
from .._host import cgroup_removal
from .._state import names
from .._state.conmon_processes import find_conmons
from .._state.model import CgroupManager, Record
from .._state.store import Paths, Store


def check_names(record: Record, previous: Record | None) -> None:
    """Raises Conflict if processes of another container are in a cgroup of that name. All later processes there belong to this
    launch, and may be removed with it."""
    known = (previous.cgroup_path, previous.conmon_cgroup_path) if previous else ()
    paths = (names.container_cgroup(record), names.conmon_cgroup(record))
    for path in scopes(record) if record.cgroup_manager is CgroupManager.SYSTEMD else paths:
        found = cgroup_removal.members(path) if path not in known else []
        if found:
            raise Conflict(
                f"The cgroup {path} has process {found[0].pid}, which does not belong to the container {record.name}.",
                hint="It may belong to a container in another state_dir. End that process, or choose another name.",
            )


def without_others(store: Store, record: Record) -> Record:
    """Return the record of an earlier release without names that only processes of another state directory use now. In these
    releases, all state directories used the same names. The other container's objects must not be removed."""
    paths = store.paths(record.name)
    cgroups = (names.container_cgroup(record), names.conmon_cgroup(record))
    own = scopes(record) if record.cgroup_manager is CgroupManager.SYSTEMD else cgroups
    found = {process for path in (*own, record.cgroup_path) for process in cgroup_removal.members(path)}
    files = (paths.pidfile, record.definition.conmon_pidfile or paths.conmon_pidfile)
    known = {record.init, record.monitor, *map(in_pid_file, files)}
    if not found or found & known or found.intersection(find_conmons(record.conmon, paths.pidfile.__eq__)):
        return record
    if record.definition.runtime_root is not None:
        raise Conflict(f"{record.runtime.name} and the host have another container with the name {record.name} now.")
    # The runtime would also end the processes in a cgroup of that name.
    remove_tree(f"{record.runtime_root}/{record.runtime_id}")
    return record.replace(realm=store.realm, cgroup_path=None, conmon_cgroup_path=None)


def has_unit(record: Record, paths: Paths) -> bool:
    """Tell whether the unit of that name runs the script of this container, does not exist, or is empty. A link is of another origin,
    such as that of a masked unit. Accept both notations of paths of earlier releases."""
    unit = names.service_path(record.name, record.realm)
    if os.path.islink(unit):
        return False
    text = read_text(unit) or ""
    plain = paths.service_script.replace("%", "%%")
    quoted = plain.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    # One line is enough: others may have been edited.
    commands = [line for line in text.split("\n") if line.startswith("Exec")]
    return not text.strip() or any(f'"{path}"' in line for path in (plain, quoted) for line in commands)


def check_unit(record: Record, paths: Paths) -> None:
    """Raises Conflict if the unit of that name has another origin: an older release with the same names for all state
    directories, or a user."""
    if not has_unit(record, paths):
        path = names.service_path(record.name, record.realm)
        masked = f"It is masked. Use systemctl {'--user ' if os.geteuid() else ''}unmask {os.path.basename(path)}."
        hint = (
            masked
            if os.path.realpath(path) == os.devnull
            else "It belongs to another state_dir, or was written by hand."
        )
        raise Conflict(f"{path} is not a unit of this container.", hint=hint)


def scopes(record: Record) -> tuple[str, str]:
    """Return the cgroups of the scopes of container and conmon. A slice ``a-b.slice`` is in ``a.slice`` (systemd.slice(5))."""
    words, user = names.cgroup_parent(record)[: -len(".slice")].split("-"), os.geteuid()
    slices = [f"/{'-'.join(words[:count])}.slice" for count in range(1, len(words) + 1) if words[0]]
    place = "".join([f"/user.slice/user-{user}.slice/user@{user}.service" if user else "", *slices])
    units = (names.container_unit(record.name, record.realm), names.conmon_unit(record.name, record.realm))
    return f"{place}/{units[0]}", f"{place}/{units[1]}"
