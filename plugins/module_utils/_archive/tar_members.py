# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the members of an untrusted tar, and refuse impossible names, sizes, owners and times.

tarfile trusts the headers. With a size of 2**63-1 it seeks for hours, with a negative one it reads the same header forever
(CVE-2025-8194), and for a pax header it allocates the memory that the header claims.
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
_MOST_NAME = 16384  # rootfs_diff.py packs names up to this length: a root file system may be deep
_MOST_IN_A_ROW = 8  # headers for one member: of GNU and of pax, for its name and its link
_LAST_ID = (1 << 32) - 2
_LAST_TIME = 1 << 34  # in the year 2514


@functools.cache
def _tar_class() -> t.Any:
    import tarfile

    special = (
        tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    )  # fmt: skip

    class Member(tarfile.TarInfo):
        """A header that may be refused before its data is read."""

        # In the base class, the argument has the name of the module.
        def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:  # pylint: disable=arguments-renamed
            if self.size < 0 or (self.type in special and self.size > _MOST_HEADER):
                raise tarfile.ReadError(f"a header has the size {self.size}")
            # tarfile keeps the content of such headers in memory, and no program writes them to archives.
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
    """Open a tar, as tarfile.open does. Raises tarfile.TarError for all errors in it, while it is open."""
    import tarfile

    try:
        with _tar_class().open(**how) as tar:
            yield tar
    except (ValueError, OverflowError, LookupError, RecursionError, EOFError) as exc:
        raise tarfile.ReadError(f"a header is not valid ({str(exc)[:100]})") from exc


def members(tar: tarfile.TarFile, *, most: int, room: int) -> t.Iterator[tarfile.TarInfo]:
    """Yield the members, at most ``most`` of them. ``room`` is the maximum size of a member in bytes."""
    import tarfile

    for number, member in enumerate(tar):
        vars(tar)["members"].clear()  # Each may have a header of a MiB. Callers keep the members that they need.
        reason = _odd(member, room) or (number >= most and f"there are more than {most} members")
        # tarfile reads a stream up to this offset, even if it is shorter.
        if tar.offset > member.offset_data + (1 << 20) + stored_size(member):
            reason = "its data is longer than its size"
        if reason:
            raise tarfile.ReadError(f"{member.name[:100]!r}: {reason}")
        yield member


def stored_size(member: tarfile.TarInfo) -> int:
    """Return the size of a member's data in bytes, without the holes of a sparse one."""
    sparse = getattr(member, "sparse", None)
    return member.size if sparse is None else sum(size for _offset, size in sparse)


def _is_in_order(member: tarfile.TarInfo) -> bool:
    """Tell whether the pieces of a sparse member are in order, as all programs write them. tarfile would handle others wrongly, or
    take hours."""
    end = 0
    for offset, size in getattr(member, "sparse", None) or ():
        if offset < end or size < 0:
            return False
        end = offset + size
    return end <= member.size or end == 0


def skip(tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Read and discard the data of a member, because a seek in a stream would not notice its end."""
    source = tar.extractfile(member) if member.isreg() else None
    while source is not None and source.read(1 << 20):
        pass


def room_in(directory: str) -> int:
    """Return the free bytes for a directory, which may not exist yet."""
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
        return "its name is not valid"
    if any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in member.name.split("/")):
        return "its name is too long"
    return ""
