# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle that really runs, on any host: its root file system is the host's own, read-only."""

from __future__ import annotations

import json
import os
import typing as t

_HOST = ("/usr", "/bin", "/lib", "/lib64")


def make(directory: object, *args: str, cgroup: str | None = None) -> str:
    """Make a bundle in a directory that exists; returns the directory."""
    root = f"{directory}/rootfs"
    mounts: list[dict[str, t.Any]] = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    for path in _HOST:
        if os.path.isdir(path):
            os.makedirs(root + path)
            mounts.append({"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]})
    os.makedirs(f"{root}/proc")
    linux: dict[str, t.Any] = {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]}
    if cgroup:
        linux["cgroupsPath"] = cgroup
    config = {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": list(args), "cwd": "/", "env": ["PATH=/usr/bin:/bin"]},
        "mounts": mounts,
        "linux": linux,
    }
    with open(f"{directory}/config.json", "w", encoding="utf-8") as stream:
        json.dump(config, stream)
    return str(directory)
