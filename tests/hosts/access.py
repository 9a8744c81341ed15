# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""How to reach the hosts: the fleet's key, an ssh configuration, and commands through it."""

from __future__ import annotations

import glob
import os
import shlex
import shutil
import sys

from . import connect
from .command import run
from .fleet import Fleet, Host
from .network import path_of
from .recipe import HOST_KEY

_FOR_ALL = """\
Host *
    User root
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    ProxyCommand nsenter --net={netns} {python} -I {connect} %h %p
    ProxyUseFdpass yes
    ServerAliveInterval 15
    LogLevel ERROR
"""


def config_path(fleet: Fleet) -> str:
    return fleet.path("ssh_config")


def control_dir(fleet: Fleet) -> str:
    """Ansible keeps its connections open here: those of two fleets must not be mixed up."""
    return fleet.path("cp")


def make_key(fleet: Fleet) -> None:
    if not os.path.exists(fleet.path("key.pub")):
        for leftover in glob.glob(fleet.path("key*")):
            os.unlink(leftover)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", fleet.prefix, "-f", fleet.path("key")])


def write_config(fleet: Fleet) -> None:
    os.makedirs(control_dir(fleet), mode=0o700, exist_ok=True)
    shutil.copyfile(connect.__file__, fleet.path("connect.py"))
    known_hosts, blocks = [], []
    for host in fleet.hosts():
        host_key = os.path.join(host.tree, HOST_KEY)
        if not os.path.exists(host_key):  # the cache was emptied: this host cannot boot any more
            continue
        with open(host_key, encoding="utf-8") as stream:
            known_hosts.append(f"{host.name} {stream.read()}")
        blocks.append(f"Host {host.name}\n    HostName {host.address}\n    HostKeyAlias {host.name}\n")
    blocks.append(
        _FOR_ALL.format(
            key=fleet.path("key"),
            known_hosts=fleet.path("known_hosts"),
            netns=path_of(fleet.netns),
            python=sys.executable,
            connect=fleet.path("connect.py"),
        )
    )
    _write(fleet.path("known_hosts"), "".join(known_hosts))
    _write(config_path(fleet), "\n".join(blocks))


def ssh_argv(fleet: Fleet, host: Host, *, user: str, terminal: bool = False) -> list[str]:
    return ["ssh", "-F", config_path(fleet), "-l", user, "-t" if terminal else "-T", host.name]


def output_of(fleet: Fleet, host: Host, *argv: str, user: str = "root", seconds: float = 60) -> str:
    return run([*ssh_argv(fleet, host, user=user), shlex.join(argv)], seconds=seconds).stdout


def close_connections(fleet: Fleet) -> None:
    """End the connections that Ansible left open for its next run."""
    for control_path in glob.glob(os.path.join(control_dir(fleet), "*")):
        run(["ssh", "-F", config_path(fleet), "-o", f"ControlPath={control_path}", "-O", "exit", "any"], check=False)


def _write(path: str, text: str) -> None:
    """Whole or not at all: others may be reading it just now."""
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(f"{path}.new", path)


__all__ = (
    "close_connections", "config_path", "control_dir", "make_key", "output_of", "ssh_argv", "write_config",
)  # fmt: skip
