# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the control groups of this host are, who is in one, and whether it is frozen: v1, hybrid and v2 alike.

The name of a cgroup is its path in /proc/PID/cgroup (``/longshore/web``). On v1 and hybrid hosts it has one directory in each
hierarchy, on v2 a single one.
"""

from __future__ import annotations

import os
import typing as t

from .._base import mountinfo
from .._base.errors import LongshoreError
from .._base.files import make_directory, read_text, split_lines

# cgroups(7): controllers, and the name of a hierarchy without any. Other mount options are between them.
_V1_NAMES = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "net_cls", "net_prio", "blkio", "perf_event",
             "hugetlb", "pids", "rdma", "misc", "name")  # fmt: skip


class Layout(t.NamedTuple):
    """The mount points of the hierarchies of this host."""

    v2: str | None  # mount point of cgroup2
    v1: tuple[tuple[str, str], ...]  # (controllers, mount point), such as ("cpu,cpuacct", "/sys/fs/cgroup/cpu")

    @property
    def mode(self) -> str:
        """Return ``unified``, ``hybrid`` or ``legacy``, the terms of the systemd documentation."""
        if not self.v1:
            return "unified"
        return "hybrid" if self.v2 else "legacy"

    def roots(self) -> list[str]:
        return ([self.v2] if self.v2 else []) + [mount for _controllers, mount in self.v1]


def layout_of(mounts: t.Iterable[mountinfo.Mount]) -> Layout:
    """Return the layout that a mount table shows. If a hierarchy has several mounts, the first one counts."""
    here = [mount for mount in mounts if mount.place.startswith("/sys/fs/cgroup")]
    v1: dict[str, str] = {}
    for mount in (each for each in here if each.kind == "cgroup"):
        words = mount.super_options.split(",")
        v1.setdefault(",".join(word for word in words if word.partition("=")[0] in _V1_NAMES), mount.place)
    return Layout(next((mount.place for mount in here if mount.kind == "cgroup2"), None), tuple(v1.items()))


def layout() -> Layout:
    return layout_of(mountinfo.read())


def controllers(uid: int, root: str = "/sys/fs/cgroup") -> set[str] | None:
    """Return the controllers for cgroups of a user, by their names in cgroup v2. For users other than root, these are delegated by
    systemd. None if nothing is known of them."""
    below = "" if uid == 0 else f"/user.slice/user-{uid}.slice/user@{uid}.service"
    text = read_text(f"{root}{below}/cgroup.controllers")
    if text is None and uid == 0 and os.path.isdir(root):
        # cgroup v1: a directory for each controller, or for several ("cpu,cpuacct"). In hybrid mode, v2 is beside them.
        directories = " ".join(os.listdir(root)).replace(",", " ").replace("blkio", "io")
        text = f"{directories} {read_text(f'{root}/unified/cgroup.controllers') or ''}"
    return None if text is None else set(text.split()) - {"systemd", "unified"}


def path_of(pid: int, where: Layout | None = None) -> str | None:
    """Return the cgroup of a process: the longest path, because a manager creates cgroups below existing ones.

    Only mounted hierarchies count: in a namespace, or in a container with systemd, the kernel lists others too.
    """
    return parse_membership(read_text(f"/proc/{pid}/cgroup") or "", where or layout())


def parse_membership(text: str, where: Layout) -> str | None:
    """Return the cgroup from the text of /proc/PID/cgroup, lines of ``number:controllers:path`` (v2 without controllers)."""
    mounted = {names for names, _mount in where.v1} | ({""} if where.v2 else set())
    lines = [line.split(":", 2) for line in split_lines(text) if line.count(":") >= 2]
    return max((path for _number, names, path in lines if names in mounted), key=len, default=None)


def directories(path: str | None, where: Layout | None = None) -> list[str]:
    """Return the existing directories of a cgroup. Empty for the root cgroup, so that no caller changes it by mistake."""
    if not path or os.path.normpath(path).strip("/.") == "":
        return []
    found = [root + path for root in (where or layout()).roots()]
    return [directory for directory in found if os.path.isdir(directory)]


def place(path: str, pid: int) -> None:
    """Create a cgroup and move a process there. Raises OSError or LongshoreError."""
    where = layout()
    # These hierarchies end and limit sessions. The other v1 hierarchies are not needed for conmon.
    matter = {"name=systemd", "memory", "pids"}
    for root in [where.v2] + [mount for names, mount in where.v1 if matter & set(names.split(","))]:
        if root is None:
            continue
        make_directory(root + path, mode=0o755)
        with open(f"{root}{path}/cgroup.procs", "w", encoding="ascii") as stream:
            stream.write(str(pid))


def spawn_directory(path: str | None, where: Layout) -> str | None:
    """Create a cgroup and return its directory, in which a process can start. None if it has more than one directory."""
    if path is None or where.v2 is None or where.v1:
        return None
    try:
        make_directory(where.v2 + path, mode=0o755)
    except LongshoreError:
        return None  # The move of the process reports the error.
    return where.v2 + path


def is_frozen(path: str | None) -> bool:
    files = [f"{directory}/{name}" for directory in directories(path) for name in ("cgroup.freeze", "freezer.state")]
    return any((read_text(file) or "").strip() in ("1", "FROZEN", "FREEZING") for file in files)
