# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for a path, or for one that matches a pattern, in the file system of a container."""

from __future__ import annotations

import fnmatch
import os
import typing as t

from .._base.deadline import Deadline
from .._base.errors import DeadlineExceeded, InvalidOption

# Returns a descriptor (O_PATH) of a path of the container, or None if it does not exist.
Open = t.Callable[[str], t.Optional[int]]

_MOST_CHARACTERS = 4096  # of a pattern: PATH_MAX
_SEARCH_SECONDS = 10.0
_HOLDING = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAGIC = frozenset("*?[")


def search(open_path: Open, pattern: str) -> bool:
    """Tell whether a path exists, also as a broken link, or whether one matches the pattern (``*``, ``?`` and ``[]``)."""
    if len(os.fsencode(pattern)) > _MOST_CHARACTERS:
        raise InvalidOption(f"A path in a container has at most {_MOST_CHARACTERS} characters.")
    parts: list[tuple[str, str]] = []  # each a path without and then a name with a pattern
    tail: list[str] = []
    for name in filter(None, pattern.split("/")):
        if _MAGIC & set(name):
            parts.append(("/".join(tail), name))
            tail = []
        else:
            tail.append(name)
    return _any(open_path, parts, tail, Deadline(_SEARCH_SECONDS))


def _any(open_path: Open, parts: list[tuple[str, str]], tail: list[str], deadline: Deadline) -> bool:
    if not parts:
        return _has(open_path, "", tail)
    pending = [_matches(open_path, "", parts[0], deadline)]
    try:
        while pending:
            found = next(pending[-1], None)
            if found is None:
                pending.pop()
            elif len(pending) < len(parts):
                pending.append(_matches(open_path, found, parts[len(pending)], deadline))
            elif _has(open_path, found, tail):
                return True
        return False
    finally:
        for each in pending:
            each.close()


def _matches(
    open_path: Open, directory: str, part: tuple[str, str], deadline: Deadline
) -> t.Generator[str, None, None]:  # fmt: skip
    """Yield matching paths one by one, because a directory may have more names than fit in memory."""
    within, name = f"{directory}/{part[0]}", part[1]
    found = open_path(within)
    if found is None:
        return
    try:
        with os.scandir(f"/proc/self/fd/{found}") as entries:
            for entry in entries:
                if not deadline.remaining():
                    raise DeadlineExceeded(f"The search for {name} in the container took too long.")
                if (entry.name[0] != "." or name[0] == ".") and fnmatch.fnmatchcase(entry.name, name):
                    yield f"{within}/{entry.name}"
    except NotADirectoryError:
        return
    finally:
        os.close(found)


def _has(open_path: Open, directory: str, names: list[str]) -> bool:
    if not names:
        return True
    name = names[-1]
    path = "/".join((directory, *names)) if name in (".", "..") else "/".join((directory, *names[:-1]))
    found = open_path(path)
    if found is None:
        return False
    try:
        # Not stat(2): a file system may be mounted there that never answers.
        os.close(os.open(name if name not in (".", "..") else ".", _HOLDING, dir_fd=found))
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    finally:
        os.close(found)
