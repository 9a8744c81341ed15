# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else can write there: the question that sshd (StrictModes) asks about files that it believes, asked about ours.

The way is followed from ``/``, a component at a time. A directory that only root and this user can write to keeps its
entries as they are, so what was found stays true until the path is used. In a sticky directory, such as /tmp, that holds
for the entries of root and of this user. A user namespace shows all users that it does not map as one; that one is not
trusted.
"""

from __future__ import annotations

import os
import stat
import typing as t

from .._base.errors import InvalidInput, reason_of

_MOST_LINKS = 40  # as the kernel

Ids = t.Collection[range]


def check(
    path: str, what: str, *, missing: bool = False, way_only: bool = False, entry: bool = False, tree: bool = False,
    ids: Ids = (), log: bool = False,
) -> None:  # fmt: skip
    """Refuse a path that another user can change: the thing itself, or the way to it (InvalidInput).

    With ``missing`` it need not be there yet. With ``way_only`` the thing itself does not count, with ``entry`` not its mode.
    A ``tree`` is a root file system: its own owner and mode are the affair of the container, which has these ``ids``, where
    no other user can get to it. With ``log`` a directory may be open to a group of the system, as /var/log is on Ubuntu.
    """
    way, links, closed = "/", 0, False
    pending = path.split("/")[::-1]
    try:
        while pending:
            part = pending.pop()
            if part == "..":
                way = os.path.dirname(way)
            if part in ("", ".", ".."):
                continue
            found = os.lstat(way)
            _judge(found, way, f"{what} {path}", sticky=True, log=log)
            closed = closed or not _can_enter(found, way, ids)
            name = os.path.join(way, part)
            found = os.lstat(name)
            if not stat.S_ISLNK(found.st_mode):
                way = name
                continue
            _judge(found, name, f"{what} {path}")
            links += 1
            if links > _MOST_LINKS:
                raise InvalidInput(f"{what} {path} leads through too many symbolic links.")
            target = os.readlink(name)
            pending += target.split("/")[::-1]
            way = "/" if target.startswith("/") else way
        if not (way_only or (tree and closed)):
            _judge(os.lstat(way), way, f"{what} {path}", entry=entry, ids=ids, log=log)
    except (OSError, ValueError) as exc:
        if not (missing or way_only) or not isinstance(exc, (FileNotFoundError, NotADirectoryError)):
            raise InvalidInput(f"{what} {path} cannot be read: {reason_of(exc)}.") from exc


def _judge(
    found: os.stat_result, path: str, what: str, *, sticky: bool = False, entry: bool = False, log: bool = False, ids: Ids = ()
) -> None:  # fmt: skip
    owner, mode = found.st_uid, found.st_mode
    ours = owner in (0, os.geteuid()) or any(owner in some for some in ids)
    if ours and (entry or stat.S_ISLNK(mode) or not mode & 0o022 or (sticky and mode & stat.S_ISVTX)):
        return
    from . import untrusted

    if not (ours and untrusted.may_group_write(found, path, log=log)) or mode & 0o002:
        untrusted.refuse(found, path, what)


def _can_enter(found: os.stat_result, path: str, ids: Ids) -> bool:
    """Whether other users than root, this one and the container's get into a directory."""
    if found.st_mode & 0o010 and not found.st_mode & 0o001:
        from . import untrusted

        group = found.st_gid and not any(found.st_gid in some for some in ids)
        return bool(group or untrusted.has_acl(path))
    return bool(found.st_mode & 0o001)
