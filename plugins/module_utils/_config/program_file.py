# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse a program that the kernel cannot execute (execve(2)): of another machine, without its interpreter, or neither ELF nor script.

The runtimes report a missing program when they create a container. They execute it only after the container counts as started, so
these faults would be known from its log alone. A file whose content is not known before the container exists is not checked, and
a missing one is left to the runtime.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import typing as t

from .._base import mountinfo
from .._base.errors import InvalidOption

Config = t.Mapping[str, t.Any]
_MOST_LINKS = 40
# With one of these annotations, or by a name such as crun-wasm or krun, crun gives the program to something else than the kernel: to a
# runtime of WebAssembly, or to a virtual machine.
_HANDLED = frozenset(("run.oci.handler", "module.wasm.image/variant"))


class Unknown(Exception):
    """A file that is known only in the container."""


class Tree:
    """The files of a container that is to be created: its root file system and its bind mounts.

    ``remote`` are the places of file systems of the host that may never answer: the check of a program has no deadline. ``real``: the
    root is no path whose links are resolved on the host, as that of a process.
    """

    def __init__(self, root: str, remote: t.Collection[str] = (), *, real: bool = False) -> None:
        self._mounts: list[tuple[str, str | None]] = [("/", root)]
        self._sources, self._remote = ({root: root} if real else {}), remote

    def add(self, mount: t.Mapping[str, t.Any]) -> None:
        """Add a mount of the config after those that come before it. One whose place cannot be resolved is left out."""
        bind = mount.get("type") == "bind" or {"bind", "rbind"} & {*(mount.get("options") or ())}
        with contextlib.suppress(Unknown, OSError):
            place = self.resolve(str(mount.get("destination")), missing=True)
            self._mounts.append((place, mount.get("source") if bind else None))

    def host(self, path: str) -> str:
        """Return the path on the host for one in the container, none of whose directories is a link. Raises Unknown."""
        place, source = next(each for each in reversed(self._mounts) if _is_below(path, each[0]))
        if source is None:
            raise Unknown
        if source not in self._sources:
            self._sources[source] = os.path.realpath(source) if place == "/" else self._real(source)
        real = self._sources[source]
        found = real + path[len(place.rstrip("/")) :]
        if any(_is_below(found, each) and _is_below(each, real) and each != real for each in self._remote):
            raise Unknown
        return found

    def _real(self, path: str) -> str:
        """Return a path of the host without links. Raises Unknown for one on a file system that may not answer."""
        if not self._remote:
            return os.path.realpath(path)
        from . import program_fault

        found = program_fault.local(path, self._remote)
        if found is None:
            raise Unknown
        return found

    def resolve(self, path: str, *, missing: bool = False) -> str:
        """Return the path without links, which start at the root of the container. Raises OSError and Unknown."""
        done, todo, links = "/", path.split("/")[::-1], 0
        while todo:
            name = todo.pop()
            if name in ("", ".", ".."):
                done = os.path.dirname(done) if name == ".." else done
                continue
            here, target = os.path.join(done, name), None
            try:
                target = os.readlink(self.host(here))
            except OSError as exc:  # EINVAL: it is no link. The runtime makes the directories above a mount.
                made = missing or any(_is_below(place, here) for place, _source in self._mounts)
                if exc.errno != errno.EINVAL and not (made and exc.errno == errno.ENOENT):
                    raise
            links += target is not None
            if links > _MOST_LINKS:
                raise Unknown
            if target is None:
                done = here
            else:
                done = "/" if target.startswith("/") else done
                todo += target.split("/")[::-1]
        return done

    def open(self, path: str) -> t.BinaryIO | None:
        """Open a regular file. Return None for anything else. Raises OSError and Unknown."""
        real = self.host(self.resolve(path))
        if not stat.S_ISREG(os.lstat(real).st_mode):
            return None
        return os.fdopen(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def tree_of(config: Config) -> Tree:
    """Return the files of the container of a config."""
    tree = Tree(config["root"]["path"], {mount.place for mount in mountinfo.read() if mountinfo.is_remote(mount.kind)})
    for mount in config.get("mounts") or []:
        tree.add(mount)
    return tree


def check(config: Config, runtime: str = "") -> None:
    """Raises InvalidOption if the program of a container exists and cannot be executed. ``runtime``: the path of crun or runc."""
    if not _HANDLED.isdisjoint(config.get("annotations") or ()) or re.match("crun-|krun", os.path.basename(runtime)):
        return
    with contextlib.suppress(Unknown, OSError, ValueError):  # ValueError: a NUL, which the runtime reports
        tree, process = tree_of(config), config["process"]
        path = _find(tree, process)
        if path is None or _is_like_this_one(tree, path):
            return
        from . import program_fault

        fault = program_fault.find(tree, path, process.get("cwd") or "/")
        if fault:
            raise InvalidOption(f"The program {path} of the container cannot be executed: {fault}.")


def _is_like_this_one(tree: Tree, path: str) -> bool:
    """Tell whether a program is for the machine of this Python, and its interpreter exists. Most programs are."""
    stream = tree.open(path)
    if stream is None:
        return False
    with stream, open("/proc/self/exe", "rb") as own:
        mine, head = own.read(20), stream.read(4096)
    needed = re.search(rb"\0(/[!-~]+)\0", head)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        tree.resolve(os.fsdecode(needed[1]) if needed else "/")
        return mine[:7] == head[:7] and mine[18:] == head[18:20] and head[16:17] in (b"\2", b"\3")
    return False


def _find(tree: Tree, process: Config) -> str | None:
    """Return the path of the program, as a runtime searches it."""
    name, cwd = process["args"][0], process.get("cwd") or "/"
    if "/" in name:
        return os.path.join(cwd, name)
    variables = dict(word.partition("=")[::2] for word in process.get("env") or [])
    for directory in variables.get("PATH", "").split(":"):
        path = os.path.join(cwd, directory, name)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(tree.host(tree.resolve(path)), follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_mode & 0o111:
                return path
    return None


def _is_below(inner: str, outer: str) -> bool:
    return f"{inner}/".startswith(f"{outer.rstrip('/')}/")
