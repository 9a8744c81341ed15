# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file system of a container that runs, looked at from outside, as its processes see it: with all its mounts.

What is in there is the container's doing and not to be trusted. Every path is walked name by name, and symbolic links are
followed by hand, from the container's own root: none leads out, whatever is exchanged meanwhile. (openat2(2) has a flag
for that, RESOLVE_IN_ROOT, but only since Linux 5.6.)
"""

from __future__ import annotations

import fnmatch
import os
import stat
import typing as t

from .errors import EngineError

_MOST_LINKS = 40  # as the kernel has it, path_resolution(7)
_MAGIC = frozenset("*?[")


class Rootfs:
    """``top`` is ``/proc/PID/root`` of a process in it. Stores only; each call opens what it needs, and closes it."""

    def __init__(self, top: str) -> None:
        self._top = top

    def read_text(self, path: str, *, limit: int = 4 << 20) -> str | None:
        """The text of a regular file, at most ``limit`` bytes; None where there is none."""
        try:
            found = self._open(path)
            if found is None:
                return None
            try:
                if not stat.S_ISREG(os.fstat(found).st_mode):
                    return None
                with open(f"/proc/self/fd/{found}", "rb") as stream:
                    return stream.read(limit).decode("utf-8", "replace")
            finally:
                os.close(found)
        except OSError as exc:
            raise _unseen(path, exc) from exc

    def exists(self, pattern: str) -> bool:
        """Whether there is such a path, also as a broken link, or one that matches (``*``, ``?`` and ``[]``)."""
        try:
            return self._any("/", [name for name in pattern.split("/") if name])
        except OSError as exc:
            raise _unseen(pattern, exc) from exc

    def _any(self, directory: str, names: list[str]) -> bool:
        if not names:
            return True
        name, rest = names[0], names[1:]
        if not _MAGIC & set(name):
            return self._any(f"{directory}/{name}", rest) if rest else self._has(directory, name)
        found = [entry for entry in self._list(directory) if entry[0] != "." or name[0] == "."]
        return any(self._any(f"{directory}/{entry}", rest) for entry in fnmatch.filter(found, name))

    def _has(self, directory: str, name: str) -> bool:
        found = self._open(f"{directory}/{name}" if name in (".", "..") else directory)
        if found is None:
            return False
        try:
            os.stat(name if name not in (".", "..") else ".", dir_fd=found, follow_symlinks=False)
            return True
        except (FileNotFoundError, NotADirectoryError):
            return False
        finally:
            os.close(found)

    def _list(self, directory: str) -> list[str]:
        found = self._open(directory)
        if found is None:
            return []
        try:
            return os.listdir(f"/proc/self/fd/{found}")
        except NotADirectoryError:
            return []
        finally:
            os.close(found)

    def _open(self, path: str) -> int | None:
        """What a path names, as a descriptor that only holds it (O_PATH); None where there is nothing."""
        todo, links = path.split("/")[::-1], 0
        holding = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        stack: list[int] = []
        try:
            stack.append(os.open(self._top, os.O_PATH | os.O_CLOEXEC))
            while todo:
                name = todo.pop()
                if name == "..":
                    # Where we came from, and never further than the root. The kernel's own ".." could be moved.
                    os.close(stack.pop()) if len(stack) > 1 else None
                elif name not in ("", "."):
                    stack.append(os.open(name, holding, dir_fd=stack[-1]))
                    if stat.S_ISLNK(os.fstat(stack[-1]).st_mode):
                        links += 1
                        target = os.readlink("", dir_fd=stack[-1])
                        _close(stack, keep=1 if target.startswith("/") else len(stack) - 1)
                        todo += target.split("/")[::-1]
                        if links > _MOST_LINKS:
                            return None
            return os.dup(stack[-1])
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            _close(stack, keep=0)


def _close(stack: list[int], *, keep: int) -> None:
    while len(stack) > keep:
        os.close(stack.pop())


def _unseen(path: str, exc: OSError) -> EngineError:
    return EngineError(f"Cannot look at {path} in the container: {t.cast(str, exc.strerror)}.")
