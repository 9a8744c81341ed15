# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a user by the texts of /etc/passwd and /etc/group of an image or a container. Pure.

``USER[:GROUP]`` means what it means to podman and docker, whose rules are those of GetExecUser in github.com/moby/sys/user:

* A number is an id, also where an account has that number for its name. An id needs no entry: then the group is 0, HOME is ``/``.
* Nothing stands for uid 0. An empty group is no group: ``app:`` is ``app``. Words after a group do not count.
* The first entry wins. The further groups are those that list the name of the entry, for a uid as for a name, and none where a
  group is given.
* A line ends at a line feed alone; ASCII blanks around it (a carriage return too) do not count, those around a field do. An entry
  may have more fields than passwd(5) has, or lack the last ones.

Where podman and docker take a damaged file to mean root, this does not: they read an id that is not a number as 0. Such an entry
is left out here, as are comments and the ``+`` and ``-`` of NIS, which no C library takes for accounts (nss_files of glibc). Ids go
up to 2^32 - 2, as in the kernel, where -1 means no id (setresuid(2), chown(2)); moby stops at 2^31 - 1.
"""

from __future__ import annotations

import typing as t

from .errors import InvalidOption

MOST_ID = 2**32 - 2
MOST_BYTES = 4 << 20  # of a file
_MOST_DIGITS = 20  # of an id, with zeros in front
_MOST_HOME = 4096
_SHOWN = 64  # characters of a name in a message


class User(t.NamedTuple):
    """A user by its numbers in the image or container. ``groups`` are those beside ``gid``, in order."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def find_user(text: str, *, passwd: str | None, group: str | None, where: str) -> User:
    """Return the user that ``USER[:GROUP]`` is. A file that is missing is None; ``where`` is the noun for a message.

    Raises InvalidOption for a name without an entry, and for a number that cannot be an id.
    """
    name, group_name = _parts(text)
    entry = _find(name or "0", passwd, number_fields=(2, 3))
    uid = _number(entry[2] if entry else name or "0")
    if uid is None:
        raise _missing("user", name, passwd, where)
    own = _number(entry[3]) or 0 if entry else 0
    home = _home(entry[5:6]) if entry else "/"
    if group_name:
        found = _find(group_name, group, number_fields=(2,))
        gid = _number(found[2] if found else group_name)
        if gid is None:
            raise _missing("group", group_name, group, where)
        return User(uid, gid, (), home)
    lists = (each for each in _entries(group, (2,)) if entry and entry[0] in "".join(each[3:4]).split(","))
    return User(uid, own, tuple(sorted({int(each[2]) for each in lists} - {own})), home)


def needed_files(text: str, *, home: bool) -> tuple[bool, bool]:
    """Return whether passwd and group have to be read for ``USER[:GROUP]``. ``home`` says that HOME is known already."""
    name, group = _parts(text)
    return not is_number(name or "0") or not group or not home, not is_number(group)


def _parts(text: str) -> tuple[str, str]:
    name, group = f"{text}:".split(":")[:2]
    return name, group


def is_number(text: str) -> bool:
    """Whether a text is an id, possibly one out of range, and never a name. Digits of other scripts make a name."""
    return text.isascii() and text.isdecimal()


def _find(wanted: str, text: str | None, *, number_fields: tuple[int, ...]) -> list[str] | None:
    """Return the first entry with a name, or with the number of an id."""
    number = _number(wanted)
    for entry in _entries(text, number_fields):
        if _number(entry[2]) == number if is_number(wanted) else entry[0] == wanted:
            return entry
    return None


def _entries(text: str | None, number_fields: tuple[int, ...]) -> t.Iterator[list[str]]:
    """Yield the fields of each account: of each line in which all of these fields are ids."""
    for line in (text or "").split("\n"):
        fields = line.strip(" \t\r\v\f").split(":")
        if fields[0][:1] not in ("", "#", "+", "-") and len(fields) > number_fields[-1]:
            if all(_number(fields[at]) is not None for at in number_fields):
                yield fields


def _number(text: str) -> int | None:
    known = is_number(text) and len(text) <= _MOST_DIGITS and int(text) <= MOST_ID
    return int(text) if known else None


def _home(field: list[str]) -> str:
    """Return what HOME can be: a text for JSON and for an environment."""
    home = "".join(field)
    usable = "\0" not in home and len(home.encode("utf-8", "replace")) <= _MOST_HOME
    return home if home and usable and not any("\ud800" <= each <= "\udfff" for each in home) else "/"


def _missing(kind: str, name: str, text: str | None, where: str) -> InvalidOption:
    shown = f"There is no {kind} {name[:_SHOWN]!r}"
    if is_number(name):
        return InvalidOption(f"{shown}.", hint=f"The largest number of a {kind} is {MOST_ID}.")
    file = "/etc/passwd" if kind == "user" else "/etc/group"
    return InvalidOption(
        f"{shown} in the {where}{'' if text is not None else f', which has no {file}'}.",
        hint="A uid (with :gid) works without an entry." if kind == "user" else "A gid works without an entry.",
    )
