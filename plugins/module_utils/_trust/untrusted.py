# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slow checks for paths that fail the fast checks of trust.check(), and the error for refused paths."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import typing as t

from .._base.errors import InvalidOption

_FIRST_OF_PEOPLE = 1000  # ids below are the system's
_ACL = "system.posix_acl_access"


def may_group_write(found: os.stat_result, path: str, *, log: bool) -> bool:
    """Tell whether write permission of the group of a file of root or this user gives its members no new power."""
    if is_private_group(found, path):
        return True
    try:
        group = grp.getgrgid(found.st_gid)
        if found.st_uid != 0 or has_acl(path):
            return False
    except (KeyError, OSError):
        return False
    # On Debian, the group staff can write to /usr/local, which has the programs that root finds first in PATH.
    if group.gr_name == "staff" and f"{path}/".startswith("/usr/local/"):
        return True
    members = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == group.gr_gid or user.pw_name in group.gr_mem}
    return log and group.gr_gid < _FIRST_OF_PEOPLE and all(uid < _FIRST_OF_PEOPLE for uid in members)


def is_private_group(found: os.stat_result, path: str) -> bool:
    """Tell whether this user is the only member of a group. Distributions give each user such a group, and a umask of 002.

    Never true for root, whose files need no write permission for a group. (sshd of Debian has the same rule.)
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
    # A directory service may list no users (enumerate of sssd). Then only the name shows that the group belongs to the user.
    return known == {me} or (not known and group.gr_name == mine.pw_name)


def has_acl(path: str) -> bool:
    """Tell whether a file has an ACL. Then the mode bits of the group are the mask of the ACL, for any users and groups."""
    try:
        return _ACL in os.listxattr(path)
    except OSError as exc:
        if exc.errno != errno.ENOTSUP:
            raise
        return False


def refuse(found: os.stat_result, path: str, what: str) -> t.NoReturn:
    """Raise InvalidOption, which names the owner, the group and the mode of the path."""
    me = _name(os.geteuid())
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    raise InvalidOption(
        f"{what} can be changed by users other than {me}: {path} belongs to {_name(found.st_uid)}:{group}, with the mode "
        f"{stat.S_IMODE(found.st_mode):04o}.",
        hint=f"Choose another path, or make sure that only {me} can write there (chown, chmod go-w).",
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
