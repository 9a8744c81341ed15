# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles are removed, and what killed tasks have left of them and of the cache. All of it under the lock of the bundle."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import typing as t

from .._base import leftovers
from .._base.errors import LongshoreError
from .._base.files import has_no_room, make_directory, read_json, read_text, remove_file, write_text
from .._bundle_spec.options import RECORD
from . import directory, rootfs, tools

_MOST_TEXT = 1 << 20


def tidy(path: str, state_dir: str) -> None:
    """Remove the workspaces and temporary files of ended tasks, in a bundle and in the cache."""
    for place in (path, f"{path}/volumes", f"{state_dir}/roots", f"{state_dir}/images/layouts"):
        if os.path.isdir(place):
            tools.sweep(place)
    leftovers.clear(path, r"(config|longshore)\.json")
    leftovers.clear(f"{state_dir}/images/references", r"[0-9a-f]{32}\.json")


def other_roots(path: str, kept: t.Container[str | None]) -> list[str]:
    """Return the root file systems of a bundle that are not among these paths. A link to one does not count."""
    with os.scandir(path) as entries:
        directories = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    names = {name.partition(".")[0] for name in directories if name.startswith("rootfs-")}
    return [root for root in (f"{path}/{name}" for name in sorted(names)) if root not in kept]


def named_root(path: str) -> str:
    """Return the root file system that config.json names. It is complete, because config.json is written after it."""
    return f"{path}/{((read_json(f'{path}/config.json') or {}).get('root') or {}).get('path') or ''}"


def is_being_removed(path: str) -> bool:
    return bool((read_json(f"{path}/{RECORD}") or {}).get("removing"))


def remove(path: str) -> None:
    """Remove a bundle. The record is marked first and removed last, so the next task completes an interrupted removal."""
    record = f"{path}/{RECORD}"
    if os.path.lexists(record):
        _mark(record)
        remove_file(f"{path}/config.json")  # From now on, no container can be created from it.
        for root in other_roots(path, ()):
            rootfs.remove(root)
        for name in os.listdir(path):
            if name != RECORD:
                _remove_entry(f"{path}/{name}")
        remove_file(record)
        tools.discard(path)
    else:
        os.rmdir(path)


class Found(t.NamedTuple):
    """The things that a task found at the path of a bundle before it began."""

    path: str
    missing: t.Sequence[str]  # the path and the directories above it, as far as they did not exist
    is_new: bool  # nothing was in it
    status: os.stat_result | None
    config: tuple[int, ...]  # which file config.json was
    volumes: t.Container[str]
    texts: t.Mapping[str, str]  # of the small files that a running container may have


def begin(path: str, group: int, mode: int) -> Found:
    """Make the directory of a bundle, or take over the one that is there. A failure leaves it as it was, with all that others have put
    into it."""
    texts, missing = {}, directory.missing(path)
    for name in ("hostname", "hosts"):
        with contextlib.suppress(LongshoreError):
            text = read_text(f"{path}/etc/{name}", limit=_MOST_TEXT, errors="surrogateescape")
            texts.update({} if text is None else {f"{path}/etc/{name}": text})
    volumes = os.listdir(f"{path}/volumes") if os.path.isdir(f"{path}/volumes") else ()
    found = Found(
        path, missing, path in missing or directory.is_new(path), None if path in missing else os.stat(path),
        _identity(f"{path}/config.json"), frozenset(volumes), texts,
    )  # fmt: skip
    try:
        make_directory(os.path.dirname(path), mode=0o755)
        make_directory(path, mode=0o700)
        tools.take_over(path, group, mode)
    except (LongshoreError, OSError):
        _remove_empty(*missing)
        raise
    return found


def undo(found: Found, *, root: str, made: t.Iterable[str], recorded: str, used: str | None) -> None:
    """Remove what a task has made before it failed: this ``root`` and the ``made`` files and volumes of a new bundle, and of another one
    the new volumes and the root file systems that are neither ``recorded``, ``used`` by a container nor in config.json. Its small files
    are put back, and the owner and mode of its directory. Files that others have put into it stay.

    With the new config.json, an existing bundle is whole, and so is a new one that is used: the next task completes it, as after a
    kill, and what fails here.
    """
    path = found.path
    if used if found.is_new else _identity(f"{path}/config.json") != found.config:
        return
    with contextlib.suppress(LongshoreError, OSError):
        if found.is_new:
            remove_file(f"{path}/config.json")  # From now on, no container can be created from it.
            rootfs.remove(f"{path}/{root}")
            for name in made:
                _remove_entry(f"{path}/{name}")
            _remove_empty(f"{path}/volumes", f"{path}/etc")
            remove_file(f"{path}/{RECORD}")
        else:
            for each in other_roots(path, {f"{path}/{recorded}", named_root(path), used}):
                rootfs.remove(each)
            for name in made:
                if name.startswith("volumes/") and os.path.basename(name) not in found.volumes:
                    _remove_entry(f"{path}/{name}")
            for name, text in found.texts.items():
                if not directory.holds(name, text):
                    directory.put(name, text)
        _remove_empty(*found.missing)
        # Another user must not get a directory with files of this task.
        if found.status and not (found.is_new and os.listdir(path)):
            tools.give_back(path, found.status)


def _remove_empty(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _identity(path: str) -> tuple[int, ...]:
    """Return what tells a file from another that replaces it. Empty if there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _mark(record: str) -> None:
    try:
        write_text(record, json.dumps({"removing": True}) + "\n", durable=True)
        tools.flush_directory(os.path.dirname(record))
    except LongshoreError as exc:
        # A removal must work on a full file system. An empty record means an incomplete bundle.
        if not has_no_room(exc):
            raise
        descriptor = os.open(record, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.closing(os.fdopen(descriptor, "wb")):
            os.fsync(descriptor)


def _remove_entry(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            tools.discard(path)
        else:
            remove_file(path)
