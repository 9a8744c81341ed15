# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The known facts about the hosts of one state directory, and every name that is derived from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import typing as t

from .command import HostsError
from .process import ProcessId

# Socket paths end at 107 bytes; the longest one below a state directory needs about 40 of them.
_LONGEST_STATE_DIR = 60

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclasses.dataclass(frozen=True)
class Host:
    name: str
    kind: str
    tree: str
    number: int  # of its address and of its port on the bridge
    machine_id: str
    process: ProcessId | None = None  # systemd-nspawn, once it was started
    ready: bool = False  # set when this boot was seen to end well

    @property
    def address(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def state(self) -> str:
        if self.process is None or not self.process.is_alive():
            return "off"
        return "up" if self.ready else "booting"


@dataclasses.dataclass(frozen=True)
class Fleet:
    """The hosts of one state directory. Fleets know nothing of each other and share only the trees."""

    directory: str

    @classmethod
    def at(cls, directory: str) -> Fleet:
        directory = os.path.realpath(directory)
        if len(directory) > _LONGEST_STATE_DIR:
            raise HostsError(f"the path of the state directory is too long for sockets in it: {directory}")
        return cls(directory=directory)

    @property
    def prefix(self) -> str:
        """Begins the names of all its network namespaces, cgroups and machines."""
        return f"longshore-{hashlib.sha256(self.directory.encode()).hexdigest()[:6]}"

    @property
    def netns(self) -> str:
        """Where the bridge is, and from where the hosts can be reached."""
        return self.prefix

    def name_of(self, host_name: str) -> str:
        """The host's name outside of it: of its network namespace, its cgroups and its machine."""
        return f"{self.prefix}-{host_name}"

    def path(self, *parts: str) -> str:
        return os.path.join(self.directory, *parts)

    def host_path(self, name: str, *parts: str) -> str:
        return self.path("hosts", name, *parts)

    def host_names(self) -> list[str]:
        try:
            return sorted(os.listdir(self.path("hosts")))
        except FileNotFoundError:
            return []

    def hosts(self) -> list[Host]:
        return [host for host in map(self.load, self.host_names()) if host]

    def load(self, name: str) -> Host | None:
        """None when there is no such host, or when its making was cut short."""
        try:
            with open(self.host_path(name, "host.json"), encoding="utf-8") as stream:
                fields: dict[str, t.Any] = json.load(stream)
        except FileNotFoundError:
            return None
        process = fields.pop("process")
        return Host(**fields, process=ProcessId(**process) if process else None)

    def save(self, host: Host) -> None:
        path = self.host_path(host.name, "host.json")
        with open(f"{path}.new", "w", encoding="utf-8") as stream:
            json.dump(dataclasses.asdict(host), stream, indent=2)
        os.replace(f"{path}.new", path)

    def known(self, name: str) -> Host:
        host = self.load(name)
        if host is None:
            raise HostsError(f"there is no host {name} in {self.directory}")
        return host

    def running(self, name: str) -> Host:
        host = self.known(name)
        if host.state == "off":
            raise HostsError(f"{name} is off: bin/hosts reboot switches it on, bin/hosts up recreates it")
        return host

    def free_number(self) -> int:
        taken = {host.number for host in self.hosts()}
        for number in range(2, 255):
            if number not in taken:
                return number
        raise HostsError("no address is left")


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise HostsError(f"{name!r} is no host name: small letters, digits and '-', at most 32")
    return name


__all__ = ("Fleet", "Host", "check_name")
