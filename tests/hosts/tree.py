# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The root tree of a kind of host: made once by debootstrap, then only ever read."""

from __future__ import annotations

import glob
import os
import re
import shutil
import sys
import time

from . import private
from .aptsources import debian_mirror
from .command import run
from .deadline import Deadline
from .filelock import locked
from .kinds import Kind
from .recipe import Recipe, recipe_for

_SCRIPTS = "/usr/share/debootstrap/scripts"

# Trees of older recipes go when no host has booted from them for so long. Another checkout may use them.
_OLD_DAYS = 3

# A tree comes from a mirror over the network: slow is normal, silent for ever is not.
_DEBOOTSTRAP_SECONDS = 1800


def cache_dir() -> str:
    """Trees are big and outlive a checkout and a reboot, so they are kept apart from both."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or "/var/cache", "longshore-hosts")


def tree_for(kind: Kind, *, mirror: str | None = None) -> str:
    """The path of the kind's tree; makes it if no earlier run did."""
    recipe = recipe_for(kind)
    path = os.path.join(cache_dir(), f"{kind.name}-{recipe.digest}")
    private.make(cache_dir())
    if os.path.isdir(path):
        return path
    deadline = Deadline.after(2 * _DEBOOTSTRAP_SECONDS)
    with locked(os.path.join(cache_dir(), f"{kind.name}.lock"), deadline=deadline, what=f"the tree of {kind.name}"):
        if not os.path.isdir(path):
            _make(recipe, path, mirror=mirror or debian_mirror())
            _remove_old(kind)
    return path


def mark_used(path: str) -> None:
    """Called at each boot, so that a tree in use never counts as old."""
    with open(_mark_of(path), "w", encoding="ascii"):
        pass


def _mark_of(path: str) -> str:
    return f"{path}.used"  # not in the tree: that is never written to


def _remove_old(kind: Kind) -> None:
    in_use = _lower_directories()
    for mark in glob.glob(_mark_of(os.path.join(cache_dir(), f"{kind.name}-*"))):
        path = mark.removesuffix(".used")
        if path not in in_use and os.stat(mark).st_mtime < time.time() - _OLD_DAYS * 86400:
            print(f"removing the old tree {path}", file=sys.stderr)
            shutil.rmtree(path)
            os.unlink(mark)


def _lower_directories() -> set[str]:
    """Return what the overlays of all hosts lie on. Each is mounted in a namespace of its own, so all are asked."""
    found: set[str] = set()
    for mountinfo in glob.glob("/proc/[0-9]*/mountinfo"):
        try:
            with open(mountinfo, encoding="utf-8", errors="replace") as stream:
                found.update(re.findall(r"[ ,]lowerdir=([^,\s]+)", stream.read()))
        except OSError:  # the process ended just now, or is a zombie (EINVAL)
            continue
    return found


def _make(recipe: Recipe, path: str, *, mirror: str) -> None:
    # The holder of the lock owns this name: a directory found here was left by a run that died.
    # debootstrap's mounts died with its mount namespace, so there is nothing below but files.
    partial = os.path.join(cache_dir(), f"{recipe.kind.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    log_path = os.path.join(cache_dir(), f"{recipe.kind.name}.log")
    print(f"making the {recipe.kind.name} tree from {mirror} (once; log: {log_path})", file=sys.stderr)
    with open(log_path, "wb") as log:
        run(_debootstrap_argv(recipe.kind, partial, mirror=mirror), seconds=_DEBOOTSTRAP_SECONDS, log=log)
        for command in recipe.commands:
            run(["chroot", partial, *command], log=log)
    _customise(recipe, partial)
    mark_used(path)
    os.rename(partial, path)


def _debootstrap_argv(kind: Kind, target: str, *, mirror: str) -> list[str]:
    packages = os.path.join(cache_dir(), f"{kind.name}.packages")
    os.makedirs(packages, exist_ok=True)
    # A suite younger than the installed debootstrap has no script of its own; all new ones use sid's.
    script = os.path.join(_SCRIPTS, kind.suite)
    if not os.path.exists(script):
        script = os.path.join(_SCRIPTS, "sid")
    return [
        # Namespaces of its own, and killed when this process dies: neither its mounts nor its
        # processes can outlive it, whatever happens.
        "setpriv", "--pdeathsig", "KILL",
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
        "debootstrap", "--variant=minbase", f"--cache-dir={packages}", f"--include={','.join(kind.packages)}",
        kind.suite, target, mirror, script,
    ]  # fmt: skip


def _customise(recipe: Recipe, root: str) -> None:
    for directory in recipe.directories:
        os.makedirs(os.path.join(root, directory), exist_ok=True)
    for name, text in recipe.files:
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
    for name in recipe.masked:
        link = os.path.join(root, "etc/systemd", name)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink("/dev/null", link)


__all__ = ("cache_dir", "mark_used", "tree_for")
