# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of a tar that comes from anywhere: with names, sizes, owners and times that can be.

tarfile believes the headers. A size of 2**63-1 makes it seek for hours, a negative one read the same header for ever
(CVE-2025-8194), and the text of a pax header takes as much memory as it says that it is long.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import typing as t

if t.TYPE_CHECKING:
    import tarfile

_MOST_HEADER = 1 << 20  # bytes of a pax header or of a long name
_MOST_NAME = 16384  # rootfs_changes.py packs names as long as that: a root file system may be deep
_MOST_IN_A_ROW = 8  # headers about one member: of GNU and of pax, for its name and its link
_LAST_ID = (1 << 32) - 2
_LAST_TIME = 1 << 34  # in the year 2514


@functools.cache
def _tar_class() -> t.Any:
    import tarfile

    special = (
        tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    )  # fmt: skip

    class Member(tarfile.TarInfo):
        """A header that is refused before its data is read."""

        # There the argument has the name of the module.
        def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:  # pylint: disable=arguments-renamed
            if self.size < 0 or (self.type in special and self.size > _MOST_HEADER):
                raise tarfile.ReadError(f"a header has the size {self.size}")
            # tarfile keeps what such headers say for as long as the tar is open, and nothing that writes archives has them.
            if self.type == tarfile.XGLTYPE:
                raise tarfile.ReadError("a header is about all members")
            counted = t.cast(Tar, tar)
            counted.in_a_row = counted.in_a_row + 1 if self.type in special else 0
            if counted.in_a_row > _MOST_IN_A_ROW:
                raise tarfile.ReadError("a member has too many headers")
            return t.cast("tarfile.TarInfo", super()._proc_member(tar))  # type: ignore[misc]

    class Tar(tarfile.TarFile):
        tarinfo = Member
        in_a_row = 0

    return Tar


@contextlib.contextmanager
def opened(**how: t.Any) -> t.Iterator[tarfile.TarFile]:
    """Open a tar, as tarfile.open does. Raises tarfile.TarError for all that is wrong in it, while it is open."""
    import tarfile

    try:
        with _tar_class().open(**how) as tar:
            yield tar
    except (ValueError, OverflowError, LookupError, RecursionError, EOFError) as exc:
        raise tarfile.ReadError(f"a header is not valid ({str(exc)[:100]})") from exc


def members(tar: tarfile.TarFile, *, most: int, room: int) -> t.Iterator[tarfile.TarInfo]:
    """The members, and no more than ``most`` of them. ``room`` is the number of bytes that none can have more than."""
    import tarfile

    for number, member in enumerate(tar):
        vars(tar)["members"].clear()  # Each may have a header of a MiB: who wants to keep them does so.
        reason = _odd(member, room) or (number >= most and f"there are more than {most} members")
        # A stream is read up to there, whether or not it has so much.
        if tar.offset > member.offset_data + (1 << 20) + stored_size(member):
            reason = "its data is longer than its size"
        if reason:
            raise tarfile.ReadError(f"{member.name[:100]!r}: {reason}")
        yield member


def stored_size(member: tarfile.TarInfo) -> int:
    """The bytes of a member's data, without the holes of a sparse one."""
    sparse = getattr(member, "sparse", None)
    return member.size if sparse is None else sum(size for _offset, size in sparse)


def _is_in_order(member: tarfile.TarInfo) -> bool:
    """Whether the pieces of a sparse member are as every writer has them. tarfile finds the others wrongly, or for hours."""
    end = 0
    for offset, size in getattr(member, "sparse", None) or ():
        if offset < end or size < 0:
            return False
        end = offset + size
    return end <= member.size or end == 0


def skip(tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Read the data of a member, where a seek of a stream would not notice its end."""
    source = tar.extractfile(member) if member.isreg() else None
    while source is not None and source.read(1 << 20):
        pass


def room_in(directory: str) -> int:
    """Bytes that can be written to a directory, or to where it will be made."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    space = os.statvfs(directory)
    return space.f_bavail * space.f_frsize


def _odd(member: tarfile.TarInfo, room: int) -> str:
    if (
        member.size < 0
        or (member.size and (member.isdir() or member.issym()))
        or stored_size(member) > room
        or stored_size(member) < 0
    ):
        return f"its size cannot be {member.size}"
    if not _is_in_order(member):
        return "its pieces are not in order"
    if not (0 <= member.uid <= _LAST_ID and 0 <= member.gid <= _LAST_ID):
        return f"its owner cannot be {member.uid}:{member.gid}"
    if not (math.isfinite(member.mtime) and -_LAST_TIME < member.mtime < _LAST_TIME):
        return f"its time cannot be {member.mtime}"
    if len(member.name) > _MOST_NAME or len(member.linkname) > _MOST_NAME or "\0" in member.name + member.linkname:
        return "its name is not one of a file"
    if any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in member.name.split("/")):
        return "its name is too long"
    return ""
