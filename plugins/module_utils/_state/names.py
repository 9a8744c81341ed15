# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of cgroups and systemd units of a container. Pure, except that they use the user of this process."""

from __future__ import annotations

import os
import pwd

from .model import CgroupManager, Record


def cgroup_parent(record: Record) -> str:
    """Return the parent of the cgroups of container and conmon: a slice under systemd, otherwise a path."""
    slice_name = "machine.slice" if os.geteuid() == 0 else "user.slice"
    default = slice_name if record.cgroup_manager is CgroupManager.SYSTEMD else "/longshore"
    return record.definition.cgroup_parent or default


def container_cgroup(record: Record) -> str:
    """Return the cgroup of the container. Without systemd, it is directly below the parent, as conmon's is: a directory between
    them would need its controllers enabled for each container, which takes about 10 ms."""
    return f"{cgroup_parent(record)}/{_of(record)}"


def conmon_cgroup(record: Record) -> str:
    """Return the cgroup of conmon, which no container can have, because names of containers have no ':'."""
    return f"{cgroup_parent(record)}/conmon:{_of(record)}"


def _of(record: Record) -> str:
    """Return the name with the realm. Names have no ``@``, so names of two state directories are never the same."""
    return f"{record.name}@{record.realm}" if record.realm else record.name


def prefix(realm: str) -> str:
    """Return the prefix of units: a name or ``conmon:`` follows ``longshore-``, a state directory follows ``longshore.``."""
    return f"longshore.{realm}" if realm else "longshore"


def unit_part(name: str) -> str:
    """Return a container's name for a unit. Only ``+`` is not allowed there, and is escaped as systemd-escape does."""
    return name.replace("+", "\\x2b")


def container_unit(name: str, realm: str) -> str:
    return f"{prefix(realm)}-{unit_part(name)}.scope"


def conmon_unit(name: str, realm: str) -> str:
    return f"{prefix(realm)}-conmon:{unit_part(name)}.scope"


def service_unit(name: str, realm: str) -> str:
    return f"{prefix(realm)}-{unit_part(name)}.service"


def service_path(name: str, realm: str) -> str:
    """Return the path of the unit of a service: of the system, or of the user who owns the container."""
    user = os.geteuid()
    place = "/etc/systemd/system" if user == 0 else f"{pwd.getpwuid(user).pw_dir}/.config/systemd/user"
    return f"{place}/{service_unit(name, realm)}"


def service_target() -> str:
    """Return the target that starts services at boot."""
    return "multi-user.target" if os.geteuid() == 0 else "default.target"
