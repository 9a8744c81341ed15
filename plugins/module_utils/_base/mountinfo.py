# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read tables of mounts: /proc/PID/mountinfo, as proc(5) and the kernel's fs/proc_namespace.c describe it.

The only reader of such a table. A line ends at a line feed alone, and no field has a blank: blanks, tabs, line feeds and
backslashes are octal there (``\\040 \\011 \\012 \\134``, in a source also ``\\043`` for ``#``). Names are bytes, decoded as Python
decodes all file names, so that a path from here can be compared with any other and be given to the kernel.
"""

from __future__ import annotations

import os
import re
import typing as t

SELF = "/proc/self/mountinfo"
_REMOTE = re.compile(
    r"fuse|nfs|cifs|smb|9p$|ceph$|afs$|coda$|lustre$|gfs2?$|ocfs2$|autofs$|davfs|virtiofs$|vboxsf$|gluster"
)
_LOCAL = ("fusectl", "nfsd")


class Mount(t.NamedTuple):
    """One mount. ``root`` is the directory of the file system that is seen there; it ends in ``//deleted`` where that was removed.

    ``super_options`` are the file system's own, still escaped: some of them escape their separators (overlay.py).
    """

    id: str
    parent: str
    device: str  # "major:minor"
    root: str
    place: str
    options: tuple[str, ...]
    kind: str = ""
    source: str = ""
    super_options: str = ""


def read(table: str = SELF) -> list[Mount]:
    """Return all mounts of a table, a lower one at the same place first. Raises OSError: a table that cannot be read has not
    said that nothing is mounted."""
    with open(table, "rb") as stream:
        return list(parse(stream.read()))


def parse(text: bytes) -> t.Iterator[Mount]:
    """Yield the mounts of a table's text. A line without a place is left out; one that ends early has a type of ``""``."""
    for line in text.split(b"\n"):
        left, _dash, right = line.partition(b" - ")
        number, parent, device, root, place, flags, *_more = [*map(plain, left.split(b" ")), *[""] * 5]
        if place:
            # Any number of further fields are between the options and the dash. The source may be empty.
            kind, source, options = [*right.split(b" ", 2), b"", b"", b""][:3]
            words = tuple(filter(None, flags.split(",")))
            yield Mount(number, parent, device, root, place, words, plain(kind), plain(source), os.fsdecode(options))


def plain(field: bytes) -> str:
    """Return what a field means, its escapes decoded once: the name ``\\040`` is ``\\134040`` in a table."""
    return os.fsdecode(re.sub(rb"\\([0-3][0-7]{2})", lambda found: bytes([int(found[1], 8)]), field))


def is_remote(kind: str) -> bool:
    """Tell whether a server, or a program, answers for file systems of this kind. It may be gone."""
    return _REMOTE.match(kind) is not None and kind not in _LOCAL
