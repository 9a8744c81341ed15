# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors
"""Refuse a directory in which another user can change something, as sshd does (StrictModes). Make it where it is missing.

Arguments: the path, and the mode for what is made; without a mode nothing is made. Prints whether something was made.

The directory must belong to this user or to root. So must each directory and each link on the way to it. Others may write
only to directories on the way that are sticky, like /tmp: there they cannot rename entries of another user. The group of this
user alone may write everywhere, as a umask of 002 leaves it. With a mode, another user cannot have a directory of root.
bin/test, bin/quickstart and bin/hosts use this file too.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys

_MOST_LINKS = 40  # as Linux


class Refused(Exception):
    """One sentence says why."""


def refuse(path: str, *, own: bool) -> None:
    """Raise Refused if another user can change the directory or what its path leads to. A path that does not exist is fine.

    With ``own`` it must be this user's own, who is going to write there.
    """
    place, words, links = "/", [word for word in path.split("/") if word], 0
    _look(place, last=not words, own=own)
    while words:
        word = words.pop(0)
        here = os.path.dirname(place) if word == ".." else os.path.join(place, "" if word == "." else word)
        here = here.rstrip("/") or "/"
        try:
            is_link = stat.S_ISLNK(_look(here, last=not words, own=own).st_mode)
        except FileNotFoundError:
            return
        if not is_link:
            place = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise Refused(f"{path} is a circle of links.")
        target = os.readlink(here)
        words[:0] = [word for word in target.split("/") if word]
        place = "/" if target.startswith("/") else place


def _look(path: str, *, last: bool, own: bool) -> os.stat_result:
    found = os.lstat(path)
    if found.st_uid not in (0, os.geteuid()):
        raise Refused(f"{path} belongs to the user {found.st_uid}, who can change what is there.")
    if stat.S_ISLNK(found.st_mode):
        return found
    if not stat.S_ISDIR(found.st_mode):
        raise Refused(f"{path} is not a directory.")
    is_open = found.st_mode & 0o022 and (last or not found.st_mode & stat.S_ISVTX)
    if is_open and (found.st_mode & 0o002 or not _is_private_group(found, path)):
        raise Refused(f"Others than its owner can write to {path} (mode {found.st_mode & 0o7777:04o}).")
    if own and last and found.st_uid != os.geteuid():
        raise Refused(f"{path} belongs to root, and this user cannot have it.")
    return found


def _is_private_group(found: os.stat_result, path: str) -> bool:
    """Whether only this user is in the group. Never for root, and never with an ACL, for others may be in that."""
    me = os.geteuid()
    try:
        mine, group = pwd.getpwuid(me), grp.getgrgid(found.st_gid)
        others = set(group.gr_mem) - {mine.pw_name}
        if me == 0 or mine.pw_gid != found.st_gid or others or "system.posix_acl_access" in os.listxattr(path):
            return False
    except (KeyError, OSError):
        return False
    known = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == found.st_gid}
    # A directory service may list no users. Then only the name tells that the group is the user's.
    return known == {me} or (not known and group.gr_name == mine.pw_name)


def make(path: str, mode: int) -> bool:
    """Make the directory and its parents where they are missing. False where nothing is missing."""
    if os.path.isdir(path):
        return False
    parent = os.path.dirname(path.rstrip("/"))
    if parent not in ("", "/"):
        make(parent, mode)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return False
    os.chmod(path, mode)  # whatever the umask is
    return True


def main() -> None:
    path = os.path.join(os.getcwd(), sys.argv[1])
    try:
        own = len(sys.argv) > 2
        refuse(path, own=own)
        made = own and make(path, int(sys.argv[2], 8))
        refuse(path, own=own)  # Another user may have been faster.
    except (Refused, OSError) as exc:
        sys.exit(str(exc))
    print("made" if made else "there" if os.path.isdir(path) else "missing")


if __name__ == "__main__":
    main()
