# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""Looks at what is, without the collection: the runtime, /proc, files. The truth that its reports are held against."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
import typing as t

from . import processes


class Place(t.NamedTuple):
    """The directories of one worker: on disk, state and run directory of the collection."""

    base: str
    state: str
    run: str

    @property
    def realm(self) -> str:
        """The part of this state directory in names of the host."""
        return hashlib.sha256(self.state.encode()).hexdigest()[:8]


class Truth(t.NamedTuple):
    status: str
    pid: int | None
    detail: str = ""


def container(programs: processes.Programs, place: Place, name: str, runtime: str) -> Truth:
    """The state of a container by the runtime and by its processes."""
    asked = programs.run([runtime, "--root", f"{place.run}/{os.path.basename(runtime)}", "state", name])
    record = _json(f"{place.state}/containers/{name}/record.json")
    if asked.status == 0:
        state = json.loads(asked.output)
        pid = int(state.get("pid") or 0) or None
        status = str(state.get("status"))
        found = processes.process(pid) if pid else None
        if status in ("running", "created", "paused") and (found is None or found.state in "ZX"):
            status = "stopped"
        frozen = _frozen(pid) if pid and status in ("running", "paused") else None
        if frozen is not None and frozen != (status == "paused"):
            return Truth(status, pid, f"the runtime says {status}, but cgroup.freeze says {frozen}")
        return Truth(status, pid if status != "stopped" else None)
    if record is None:
        return Truth("absent", None, asked.errors.strip()[-200:])
    if str(record.get("phase")) == "checkpointed":
        return Truth("checkpointed", None)
    return Truth("stopped", None, f"phase {record.get('phase')}")


def _frozen(pid: int) -> bool | None:
    for line in processes.read(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith("0::"):
            text = processes.read(f"/sys/fs/cgroup{line[3:]}/cgroup.freeze").strip()
            return text == "1" if text else None
    return None


def stored_checkpoint(place: Place, name: str) -> bool:
    return bool(glob.glob(f"{place.state}/containers/{name}/checkpoints/*/longshore.json"))


def lives(volume: str) -> int:
    """How often a container was started again."""
    return processes.read(f"{volume}/lives").count("life")


def manifest(top: str, *, leave_out: t.Container[str] = ()) -> dict[str, str]:
    """All below a directory, by relative path: kind, mode, owner, size, content."""
    found = {}
    for directory, names, others in os.walk(top):
        for name in [*names, *others]:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, top)
            if relative in leave_out:
                continue
            status = os.lstat(path)
            text = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
            if stat.S_ISLNK(status.st_mode):
                text += f" {os.readlink(path)}"
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as stream:
                    text += f" {status.st_size} {hashlib.sha256(stream.read()).hexdigest()[:16]}"
            found[relative] = text
    return found


def difference(before: t.Mapping[str, str], after: t.Mapping[str, str]) -> str:
    """In one line; empty where there is none."""
    gone = sorted(set(before) - set(after))
    new = sorted(set(after) - set(before))
    changed = sorted(name for name in set(before) & set(after) if before[name] != after[name])
    parts = []
    for what, names in (("gone", gone), ("new", new), ("changed", changed)):
        if names:
            parts.append(f"{len(names)} {what} ({', '.join(names[:4])}{', ...' if names[4:] else ''})")
    if changed:
        parts.append(f"{changed[0]}: {before[changed[0]]} -> {after[changed[0]]}")
    return "; ".join(parts)


def _json(path: str) -> dict[str, t.Any] | None:
    try:
        value = json.loads(processes.read(path))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
