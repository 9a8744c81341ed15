# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The leftovers on a host after all of a trial was removed: there should be none."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import time
import typing as t

from . import processes
from .look import Place

# These stay by design: the versions of programs, and directories that are empty.
_STAYS = re.compile(r"programs\.json")
_GRACE = 1.5
_UNITS = ("/etc/systemd/system", "/run/systemd/system", "/run/systemd/transient", "~/.config/systemd/user")


def systemctl(*words: str) -> list[str]:
    manager = [] if os.geteuid() == 0 else ["--user"]
    return ["systemctl", *manager, *words]


class Before(t.NamedTuple):
    """The state of the host before a trial."""

    processes: frozenset[int]
    links: frozenset[str]
    namespaces: frozenset[str]
    tables: frozenset[str]
    forwarding: str


def before(programs: processes.Programs, *, network: bool) -> Before:
    return Before(
        processes=frozenset(each.pid for each in processes.descendants(os.getpid())),
        links=_links(programs) if network else frozenset(),
        namespaces=_namespaces(),
        tables=_tables(programs) if network else frozenset(),
        forwarding=_forwarding() if network else "",
    )


def find(programs: processes.Programs, place: Place, token: str, earlier: Before, *, network: bool) -> list[str]:
    """All that is left of a trial, one line each. ``token`` is in every name of it."""
    found = _processes(earlier)
    found += _mounts(place)
    found += _cgroups(token)
    found += _units(programs, token)
    found += [f"namespace /run/netns/{name}" for name in sorted(_namespaces() - earlier.namespaces) if token in name]
    found += _sockets(place)
    found += _files(place)
    if network:
        found += [f"link {name}" for name in sorted(_links(programs) - earlier.links)]
        found += [f"nft {table}" for table in sorted(_tables(programs) - earlier.tables)]
        if _forwarding() != earlier.forwarding:
            found.append(f"forwarding was {earlier.forwarding}, is {_forwarding()}")
    return found


def _processes(earlier: Before) -> list[str]:
    """Of this worker. A process that is about to end gets a moment."""
    limit = time.monotonic() + _GRACE
    while True:
        left = [each for each in processes.descendants(os.getpid()) if each.pid not in earlier.processes]
        if not left or time.monotonic() > limit:
            return [f"process {each.pid} {each.state} {each.command[:200] or each.name}" for each in left]
        time.sleep(0.05)


def _mounts(place: Place) -> list[str]:
    found = []
    for line in processes.read("/proc/self/mountinfo").splitlines():
        point = line.split()[4]
        if point.startswith((place.base, place.run)):
            found.append(f"mount {point}")
    return found


def _cgroups(token: str) -> list[str]:
    top = "/sys/fs/cgroup"
    found = []
    for directory, names, _others in os.walk(top):
        found += [f"cgroup {os.path.join(directory, name)[len(top) :]}" for name in names if token in name]
    return found


def _units(programs: processes.Programs, token: str) -> list[str]:
    if not os.path.isdir("/run/systemd/system"):
        return []
    found = [
        f"unit file {path}"
        for directory in map(os.path.expanduser, _UNITS)
        for path in glob.glob(f"{directory}/**/*{token}*", recursive=True)
    ]
    listed = programs.run(systemctl("list-units", "--all", "--plain", "--no-legend", f"*{token}*"))
    return found + [f"unit {' '.join(line.split())}" for line in listed.output.splitlines() if line.strip()]


def _namespaces() -> frozenset[str]:
    return frozenset(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else frozenset()


def _links(programs: processes.Programs) -> frozenset[str]:
    return frozenset(link["ifname"] for link in json.loads(programs.run(["ip", "-j", "link", "show"]).output))


def _tables(programs: processes.Programs) -> frozenset[str]:
    return frozenset(programs.run(["nft", "list", "tables"]).output.splitlines())


def _forwarding() -> str:
    return " ".join(
        processes.read(f"/proc/sys/net/{name}").strip() for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
    )


def _sockets(place: Place) -> list[str]:
    found = []
    for line in processes.read("/proc/net/unix").splitlines():
        path = line.split()[-1]
        if path.startswith((place.run, place.base)):
            found.append(f"socket {path}")
    return found


def _files(place: Place) -> list[str]:
    """Files in state and run directory, except images, and temporary ones anywhere else."""
    found = []
    for top in (place.state, place.run):
        for directory, _names, files in os.walk(top):
            here = os.path.relpath(directory, top)
            for name in files + [each for each in _names if os.path.islink(f"{directory}/{each}")]:
                path = os.path.normpath(os.path.join(here, name))
                if _STAYS.fullmatch(path) or (top == place.state and path.split("/")[0] in ("images", "roots")):
                    continue
                found.append(f"file {top}/{path}")
    for directory, names, files in os.walk(f"{place.state}"):
        found += [f"file {directory}/{name}" for name in names + files if name.startswith(".tmp-")]
    for name in os.listdir(f"{place.base}/given"):
        found.append(f"file {place.base}/given/{name}")
    return sorted(set(found))


def clear(programs: processes.Programs, place: Place, token: str, earlier: Before) -> None:
    """Take away what is left by force, so that the next trial is not blamed for it."""
    for _attempt in range(3):
        for each in processes.descendants(os.getpid()):
            if each.pid not in earlier.processes:
                processes.kill(each.pid)
    for path in glob.glob(f"/sys/fs/cgroup/**/*{token}*", recursive=True):
        with contextlib.suppress(OSError), open(f"{path}/cgroup.kill", "w", encoding="utf-8") as stream:
            stream.write("1")
    unmount(programs.run, (place.base, place.run))
    if os.path.isdir("/run/systemd/system"):
        units = []
        for directory in map(os.path.expanduser, _UNITS):
            for path in glob.glob(f"{directory}/**/*{token}*", recursive=True):
                units.append(os.path.basename(path))
                if os.path.islink(path) or os.path.isfile(path):
                    os.unlink(path)
        programs.run(systemctl("kill", "--signal=KILL", f"*{token}*"))
        programs.run(systemctl("stop", f"*{token}*"))
        if units:
            programs.run(systemctl("daemon-reload"))
        programs.run(systemctl("reset-failed", f"*{token}*"))
    for path in glob.glob(f"/run/netns/*{token}*"):
        programs.run(["ip", "netns", "delete", os.path.basename(path)])


def unmount(run: t.Callable[[list[str]], t.Any], directories: t.Sequence[str]) -> None:
    """All that is mounted below these."""
    for line in reversed(processes.read("/proc/self/mountinfo").splitlines()):
        point = line.split()[4]
        if point.startswith(tuple(f"{directory}/" for directory in directories)):
            run(["umount", "-l", point])
