# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of cgroups and systemd units of a container. Pure, but for the user of this process."""

from __future__ import annotations

import os
import pwd

from .model import Record


def cgroup_parent(record: Record) -> str:
    """Below which the cgroups of container and conmon are: a slice under systemd, else a path."""
    default = "/longshore"
    if record.cgroup_manager == "systemd":
        default = "machine.slice" if os.geteuid() == 0 else "user.slice"
    return record.definition.cgroup_parent or default


def container_cgroup(record: Record) -> str:
    """Without systemd, right below the parent, and so is conmon's: a directory between them would have to be given its
    controllers for each container, and a new one waits some 10 ms for that."""
    return f"{cgroup_parent(record)}/{_of(record)}"


def conmon_cgroup(record: Record) -> str:
    """Not to be had by any container: a container's name has no ':'."""
    return f"{cgroup_parent(record)}/conmon:{_of(record)}"


def _of(record: Record) -> str:
    """No container's name has an ``@``, so the names of two state directories are never the same."""
    return f"{record.name}@{record.realm}" if record.realm else record.name


def prefix(realm: str) -> str:
    """Of units: ``longshore-`` goes on with a name or ``conmon:``, ``longshore.`` with a state directory."""
    return f"longshore.{realm}" if realm else "longshore"


def unit_part(name: str) -> str:
    """Of the characters of a container's name, ``+`` alone is none of a unit's name: escaped as systemd-escape does."""
    return name.replace("+", "\\x2b")


def container_unit(name: str, realm: str) -> str:
    return f"{prefix(realm)}-{unit_part(name)}.scope"


def conmon_unit(name: str, realm: str) -> str:
    return f"{prefix(realm)}-conmon:{unit_part(name)}.scope"


def service_unit(name: str, realm: str) -> str:
    return f"{prefix(realm)}-{unit_part(name)}.service"


def service_path(name: str, realm: str) -> str:
    """Where the unit of a service is: of the system, or of the user whose container it is."""
    user = os.geteuid()
    place = "/etc/systemd/system" if user == 0 else f"{pwd.getpwuid(user).pw_dir}/.config/systemd/user"
    return f"{place}/{service_unit(name, realm)}"
