# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The Ansible inventory of a fleet: a group for each kind of host."""

from __future__ import annotations

import itertools
import os

from .access import config_path, control_dir
from .fleet import Fleet

_VARIABLES = """\
# Written by bin/hosts. The user is root; for the unprivileged one say: ansible --user app
all:
  vars:
    ansible_ssh_common_args: -F {config}
    ansible_control_path_dir: {control_dir}
    ansible_ssh_pipelining: true
    ansible_python_interpreter: /usr/bin/python3
"""


def path_of(fleet: Fleet) -> str:
    return fleet.path("inventory.yml")


def text_of(fleet: Fleet) -> str:
    hosts = sorted(fleet.hosts(), key=lambda host: (host.kind, host.name))
    lines = [_VARIABLES.format(config=config_path(fleet), control_dir=control_dir(fleet))]
    if hosts:
        lines.append("  children:\n")
    for kind, members in itertools.groupby(hosts, key=lambda host: host.kind):
        lines.append(f"    {kind}:\n      hosts:\n")
        for host in members:
            lines.append(f"        {host.name}:\n          longshore_host_kind: {kind}\n")
            lines.append(f"          longshore_host_address: {host.address}\n")
    return "".join(lines)


def write(fleet: Fleet) -> None:
    path = path_of(fleet)
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        stream.write(text_of(fleet))
    os.replace(f"{path}.new", path)


__all__ = ("path_of", "text_of", "write")
