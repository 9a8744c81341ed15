# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""A cgroup for each host, on its own at the top of the hierarchies that systemd in a host uses.

On a machine with cgroup v1 and v2 side by side that is two of them: the v2 hierarchy and the v1
hierarchy named systemd. Without a cgroup of its own a second host fails to boot ("payload subcgroup:
busy"). It also is what takes a host down for sure: whatever ran in it, and wherever it forked to.
"""

from __future__ import annotations

import errno
import os
import select
import time
import typing as t

from .command import HostsError
from .deadline import Deadline


class Hierarchies(t.NamedTuple):
    unified: str
    named: str | None

    def paths(self, name: str) -> list[str]:
        return [os.path.join(top, name) for top in (self.unified, self.named) if top]


def hierarchies(mountinfo: str = "/proc/self/mountinfo") -> Hierarchies:
    unified = named = None
    with open(mountinfo, encoding="utf-8") as stream:
        for line in stream:
            left, _dash, right = line.partition(" - ")
            mount_point = left.split()[4]
            filesystem, _source, options = right.split(None, 2)
            if filesystem == "cgroup2":
                unified = unified or mount_point
            elif filesystem == "cgroup" and "name=systemd" in options.strip().split(","):
                named = named or mount_point
    if unified is None:
        raise HostsError("no cgroup v2 hierarchy is mounted on this machine: hosts need one")
    return Hierarchies(unified=unified, named=named)


def make(name: str) -> list[str]:
    """Make the cgroups called `name`; returns the files a process writes its id to, to enter them."""
    paths = hierarchies().paths(name)
    for path in paths:
        os.makedirs(path, exist_ok=True)
    return [os.path.join(path, "cgroup.procs") for path in paths]


def named_like(prefix: str) -> list[str]:
    """Names of all cgroups there are with this prefix, also those of a run that crashed."""
    tops = [top for top in hierarchies() if top]
    return sorted({name for top in tops for name in os.listdir(top) if name.startswith(prefix)})


def destroy(name: str, *, deadline: Deadline) -> None:
    """Kill every process in the cgroups called `name` and remove them."""
    unified, *others = hierarchies().paths(name)
    if os.path.isdir(unified):
        _kill(unified, deadline=deadline)
    for path in (unified, *others):
        _remove(path, deadline=deadline)


def _kill(path: str, *, deadline: Deadline) -> None:
    with open(os.path.join(path, "cgroup.events"), encoding="ascii") as events:
        # A write there kills the whole subtree at once, so nothing can fork away from it.
        with open(os.path.join(path, "cgroup.kill"), "w", encoding="ascii") as stream:
            stream.write("1")
        poll = select.poll()
        poll.register(events, select.POLLPRI)  # the kernel signals each change of the file so
        while True:
            events.seek(0)
            if "populated 0" in events.read():
                return
            poll.poll(deadline.remaining(f"the processes in {path} to die") * 1000)


def _remove(path: str, *, deadline: Deadline) -> None:
    for directory, _subdirectories, _files in os.walk(path, topdown=False):
        while True:
            try:
                os.rmdir(directory)
                break
            except FileNotFoundError:
                break
            except OSError as error:
                # v1 does not report the end of its last task, hence the bounded retry.
                if error.errno != errno.EBUSY:
                    raise
                time.sleep(min(0.05, deadline.remaining(f"{directory} to become empty")))


__all__ = ("Hierarchies", "destroy", "hierarchies", "make", "named_like")
