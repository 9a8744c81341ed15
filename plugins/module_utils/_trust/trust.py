# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse paths that another user can change, as sshd (StrictModes) does for the files that it trusts.

The check follows the path from ``/``, one component at a time. Other users cannot change the entries of a directory that
only root and this user can write to, so the result stays true until the path is used. In a sticky directory, such as /tmp,
this holds for the entries of root and of this user. A user namespace shows all unmapped users as one user, which is not
trusted.
"""

from __future__ import annotations

import os
import stat
import typing as t

from .._base.errors import InvalidOption, reason_of

_MOST_LINKS = 40  # as the kernel

Ids = t.Collection[range]


def check(
    path: str, what: str, *, missing: bool = False, way_only: bool = False, entry: bool = False, tree: bool = False,
    ids: Ids = (), log: bool = False,
) -> None:  # fmt: skip
    """Refuse (InvalidOption) a path if another user can change its target or a component of the path.

    With ``missing``, the target may be missing. With ``way_only``, the target is not checked, with ``entry`` its mode is not.
    A ``tree`` is a root file system: if no other user can enter it, its owner may be one of the ``ids`` of the container, and
    its mode may be any. With ``log``, a system group may write to a directory, as to /var/log on Ubuntu.
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
                raise InvalidOption(f"{what} {path} leads through too many symbolic links.")
            target = os.readlink(name)
            pending += target.split("/")[::-1]
            way = "/" if target.startswith("/") else way
        if not (way_only or (tree and closed)):
            _judge(os.lstat(way), way, f"{what} {path}", entry=entry, ids=ids, log=log)
    except (OSError, ValueError) as exc:
        if not (missing or way_only) or not isinstance(exc, (FileNotFoundError, NotADirectoryError)):
            raise InvalidOption(f"{what} {path} cannot be read: {reason_of(exc)}.") from exc


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
    """Tell whether users other than root, this one and those of the container can enter a directory."""
    if found.st_mode & 0o010 and not found.st_mode & 0o001:
        from . import untrusted

        group = found.st_gid and not any(found.st_gid in some for some in ids)
        return bool(group or untrusted.has_acl(path))
    return bool(found.st_mode & 0o001)
