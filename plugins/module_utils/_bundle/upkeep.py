# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles are removed, and what killed tasks have left of them and of the cache. All of it under the lock of the bundle."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import typing as t

from .._base import leftovers
from .._base.errors import LongshoreError
from .._base.files import read_json, remove_file, write_text
from .._bundle_spec.options import RECORD
from . import rootfs, tools


def tidy(path: str, state_dir: str) -> None:
    """Remove the workspaces and temporary files of ended tasks, in a bundle and in the cache."""
    for place in (path, f"{path}/volumes", f"{state_dir}/roots", f"{state_dir}/images/layouts"):
        if os.path.isdir(place):
            tools.sweep(place)
    leftovers.clear(path, r"(config|longshore)\.json")
    leftovers.clear(f"{state_dir}/images/references", r"[0-9a-f]{32}\.json")


def other_roots(path: str, kept: t.Container[str | None]) -> list[str]:
    """Return the root file systems of a bundle that are not among these paths."""
    names = {name.partition(".")[0] for name in os.listdir(path) if name.startswith("rootfs-")}
    return [root for root in (f"{path}/{name}" for name in sorted(names)) if root not in kept]


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


def undo(path: str, *, missing: t.Sequence[str], blank: bool, kept: t.Container[str | None]) -> None:
    """Remove what a task has made before it failed: all of a new bundle, with the directories that were ``missing``, and of another one
    the root file systems that are not ``kept``. The next task completes what fails here, as after a kill."""
    with contextlib.suppress(LongshoreError, OSError):
        if path in missing:
            remove(path)
        elif not blank:
            for root in other_roots(path, kept):
                rootfs.remove(root)
        else:
            for root in other_roots(path, ()):
                rootfs.remove(root)
            for name in sorted(os.listdir(path), key=lambda name: name == RECORD):
                _remove_entry(f"{path}/{name}")
        for each in missing[1:]:
            os.rmdir(each)


def _mark(record: str) -> None:
    try:
        write_text(record, json.dumps({"removing": True}) + "\n", durable=True)
        tools.flush_directory(os.path.dirname(record))
    except LongshoreError as exc:
        # A removal must work on a full file system. An empty record means an incomplete bundle.
        if getattr(exc.__cause__, "errno", 0) not in (errno.ENOSPC, errno.EDQUOT):
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
