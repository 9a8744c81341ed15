# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of a bundle: who can get into it, and the small files of ours in it."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from .._base.errors import EngineError, InvalidInput
from .._base.files import read_text, remove_file, without_waiting
from .._bundle_spec import parse
from .._bundle_spec.options import FIRST_RECORD, RECORD, Request
from .._trust import trust

if t.TYPE_CHECKING:
    from .rootfs import Maps


def holds(path: str, text: str) -> bool:
    """Whether a file has just this text. The container may have written to it, so its size is asked for first."""
    data = text.encode()
    try:
        return os.lstat(path).st_size == len(data) and read_text(path, limit=len(data)) == text
    except (OSError, EngineError):
        return False


def put(path: str, text: str) -> None:
    """Write to the file that is there, since it may be mounted in a container that runs; one of another kind is replaced."""
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        remove_file(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(path, "wb", opener=lambda name, _flags: without_waiting(name, flags)) as stream:
        os.fchmod(stream.fileno(), 0o644)
        stream.write(text.encode())


def is_blank(path: str) -> bool:
    """Whether a directory is empty, but for the first record that a task was about to write when it was killed."""
    if os.path.islink(path) or not os.path.isdir(path):
        return False
    names = os.listdir(path)
    if not names:
        return True
    from .._base import leftovers

    ours = leftovers.find(path, re.escape(RECORD))
    return len(names) == len(ours) and all(_starts(f"{path}/{name}", FIRST_RECORD) for name in ours)


def _starts(path: str, text: str) -> bool:
    return any(holds(path, text[:length]) for length in range(len(text) + 1))


def check(request: Request) -> None:
    """Raises InvalidInput for a place where others can interfere, before anything in it is read. An empty directory may belong
    to another user, and be open to all: it is taken over."""
    path = request.path
    if not path.startswith("/") or os.path.normpath(path) != path or path == "/":
        raise InvalidInput(f"The path of a bundle must be absolute and without detours, not {path!r}.")
    trust.check(path, "The bundle", way_only=True)
    empty = os.path.isdir(path) and os.access(path, os.R_OK) and not os.listdir(path)
    if os.geteuid() != 0 or os.path.islink(path) or not empty:
        trust.check(path, "The bundle", entry=empty, missing=True)
    if not empty:
        trust.check(f"{path}/{RECORD}", "The bundle", missing=True)


def owner_and_mode(maps: Maps) -> tuple[int, int]:
    """The group and mode of a bundle: for this user alone. With a user namespace root of the container has to get to its root
    file system, and that is its group."""
    mapped = parse.mapped(0, maps["gid"]) if maps and os.geteuid() == 0 else None
    return (-1, 0o700) if mapped is None else (mapped, 0o710)


def not_private(path: str, maps: Maps) -> dict[str, tuple[t.Any, t.Any]]:
    """How the directory of a bundle that is there differs from a private one."""
    try:
        found = os.stat(path)
    except OSError:
        return {}
    group, mode = owner_and_mode(maps)
    pairs = {
        "directory.owner": (found.st_uid, os.geteuid()), "directory.group": (found.st_gid, found.st_gid if group < 0 else group),
        "directory.mode": (f"{stat.S_IMODE(found.st_mode):04o}", f"{mode:04o}"),
    }  # fmt: skip
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def label(path: str, roots: list[str], label: str) -> None:
    """Let SELinux give the container what the bundle has for it. What it writes later is labelled by the kernel."""
    from .._host import selinux

    volumes = f"{path}/volumes"
    directories = [f"{volumes}/{name}" for name in sorted(os.listdir(volumes))] if os.path.isdir(volumes) else []
    for directory in (*roots, f"{path}/etc", *directories):
        if os.path.isdir(directory):
            selinux.label_tree(directory, label)
