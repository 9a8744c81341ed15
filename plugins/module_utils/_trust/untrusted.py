# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A closer look at what trust.check() does not trust at first sight, and the words for what it refuses."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import typing as t

from .._base.errors import InvalidInput

_FIRST_OF_PEOPLE = 1000  # ids below are the system's
_ACL = "system.posix_acl_access"


def may_group_write(found: os.stat_result, path: str, *, log: bool) -> bool:
    """Whether those in the group of a file of root's or this user's can do nothing by it that they cannot do anyway."""
    if is_private_group(found, path):
        return True
    try:
        group = grp.getgrgid(found.st_gid)
        if found.st_uid != 0 or has_acl(path):
            return False
    except (KeyError, OSError):
        return False
    # Debian gives /usr/local to staff, with the programs that root finds first in PATH.
    if group.gr_name == "staff" and f"{path}/".startswith("/usr/local/"):
        return True
    members = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == group.gr_gid or user.pw_name in group.gr_mem}
    return log and group.gr_gid < _FIRST_OF_PEOPLE and all(uid < _FIRST_OF_PEOPLE for uid in members)


def is_private_group(found: os.stat_result, path: str) -> bool:
    """Whether only this user is in the group that may write: distributions give each user such a group, and a umask of 002.

    Never for root, whose files have no reason to be open to a group. (sshd of Debian draws the same line.)
    """
    me = os.geteuid()
    if me == 0:
        return False
    try:
        mine, group = pwd.getpwuid(me), grp.getgrgid(found.st_gid)
        if mine.pw_gid != found.st_gid or set(group.gr_mem) - {mine.pw_name} or has_acl(path):
            return False
    except (KeyError, OSError):
        return False
    known = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == found.st_gid}
    # A directory service may list nobody (enumerate of sssd). Then only the name tells that the group is the user's.
    return known == {me} or (not known and group.gr_name == mine.pw_name)


def has_acl(path: str) -> bool:
    """Whether the bits of the group are the mask of an ACL, which says nothing of who it is for."""
    try:
        return _ACL in os.listxattr(path)
    except OSError as exc:
        if exc.errno != errno.ENOTSUP:
            raise
        return False


def refuse(found: os.stat_result, path: str, what: str) -> t.NoReturn:
    """Raise InvalidInput, with who may change it now."""
    me = _name(os.geteuid())
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    raise InvalidInput(
        f"{what} can be changed by others than {me}: {path} belongs to {_name(found.st_uid)}:{group}, with the mode "
        f"{stat.S_IMODE(found.st_mode):04o}.",
        hint=f"Choose another place, or see that only {me} can write there (chown, chmod go-w).",
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
