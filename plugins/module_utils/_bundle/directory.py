# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of a bundle: its permissions, and Longshore's small files in it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import typing as t

from .._base.errors import InvalidOption, LongshoreError
from .._base.files import read_text, remove_file, without_waiting
from .._bundle_spec import parse
from .._bundle_spec.options import FIRST_RECORD, RECORD, Request
from .._trust import trust

if t.TYPE_CHECKING:
    from .rootfs import Maps


def holds(path: str, text: str) -> bool:
    """Tell whether a file has exactly this text. The container may have written to it, so check its size first."""
    data = os.fsencode(text)
    try:
        return os.lstat(path).st_size == len(data) and read_text(path, limit=len(data)) == text
    except (OSError, LongshoreError):
        return False


def put(path: str, text: str) -> None:
    """Write to an existing file in place, because it may be mounted in a running container. Replace any other kind of file."""
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        remove_file(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(path, "wb", opener=lambda name, _flags: without_waiting(name, flags)) as stream:
        os.fchmod(stream.fileno(), 0o644)
        stream.write(os.fsencode(text))


def missing(path: str) -> list[str]:
    """Return a path and the directories above it, as far as they do not exist."""
    found = []
    while not os.path.lexists(path):
        found.append(path)
        path = os.path.dirname(path)
    return found


def is_ours(path: str) -> bool:
    """Tell whether oci_bundle has created the directory."""
    return os.path.isfile(f"{path}/{RECORD}")


def is_blank(path: str) -> bool:
    """Tell whether a directory is empty, except for the first record of a killed task."""
    if os.path.islink(path) or not os.path.isdir(path):
        return False
    names = os.listdir(path)
    if not names:
        return True
    from .._base import leftovers

    ours = leftovers.find(path, re.escape(RECORD))
    return len(names) == len(ours) and all(_starts(f"{path}/{name}", FIRST_RECORD) for name in ours)


def is_new(path: str) -> bool:
    """Tell whether an existing directory has nothing in it, or nothing but a record."""
    return is_blank(os.path.realpath(path)) or (os.path.isdir(path) and os.listdir(path) == [RECORD])


def _starts(path: str, text: str) -> bool:
    return any(holds(path, text[:length]) for length in range(len(text) + 1))


def check(request: Request) -> None:
    """Raises InvalidOption for a path that other users can change, before anything in it is read. An empty directory may belong
    to another user and be open to all, because the task changes its owner and mode."""
    path = request.path
    if not path.startswith("/") or os.path.normpath(path) != path or path == "/":
        raise InvalidOption(f"The path of a bundle must be absolute and normalized, not {path!r}.")
    trust.check(path, "The bundle", way_only=True)
    empty = os.path.isdir(path) and os.access(path, os.R_OK) and not os.listdir(path)
    if os.geteuid() != 0 or os.path.islink(path) or not empty:
        trust.check(path, "The bundle", entry=empty, missing=True)
    if not empty:
        trust.check(f"{path}/{RECORD}", "The bundle", missing=True)


def owner_and_mode(maps: Maps) -> tuple[int, int]:
    """Return the group and mode of a bundle: access for this user alone. With a user namespace, the group is that of the
    container's root, who must reach the root file system."""
    mapped = parse.mapped(0, maps["gid"]) if maps and os.geteuid() == 0 else None
    return (-1, 0o700) if mapped is None else (mapped, 0o710)


def not_private(path: str, maps: Maps) -> dict[str, tuple[t.Any, t.Any]]:
    """Return how the directory of an existing bundle differs from a private one."""
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
    """Label the files that the container uses in the bundle. The kernel labels files that it writes later."""
    from .label_tree import label_tree

    volumes = f"{path}/volumes"
    directories = [f"{volumes}/{name}" for name in sorted(os.listdir(volumes))] if os.path.isdir(volumes) else []
    for directory in (*roots, f"{path}/etc", *directories):
        if os.path.isdir(directory):
            label_tree(directory, label)


def lock_name(path: str) -> str:
    """Return a lock name that no container can have."""
    return f".bundle-{hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]}"
