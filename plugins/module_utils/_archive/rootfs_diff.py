# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the changes of a container in its root file system, and apply them on another host.

On an overlay, the changes are in its upper directory. For any other file system, the former content is unknown, so all of it is
packed, and the restore deletes files that are not in the tar. A tar is not trusted: nothing is written through a symbolic link
or outside of the root, and no device is created.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import typing as t

from .._base import mountinfo
from .._base.errors import InvalidOption, LongshoreError, reason_of
from .._base.trees import remove_at
from .._host.overlay import Overlay, overlay_at
from .._trust.tree_walk import Entry, walk
from . import tar_members

if t.TYPE_CHECKING:
    import tarfile

_MOST_MEMBERS = 20_000_000
_XATTR = "SCHILY.xattr."  # how tar(1) names them in a pax header
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_METACOPY = "trusted.overlay.metacopy"
_SHOWN = 200  # characters of a path in a message
_LONGEST_PATH = 16384
_NEVER_PACKED = ("trusted.overlay.", "security.selinux")


def pack(root: str, path: str) -> list[str] | None:
    """Write a tar of the changes. Return the deleted paths, or None if the tar contains the whole file system."""
    import tarfile

    overlay = _overlay(root)
    deleted: list[str] = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as target, tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for entry in walk(root) if overlay is None else _changes(root, overlay, deleted):
                _add(tar, entry)
    except (OSError, tarfile.TarError) as exc:
        reason = reason_of(exc) if isinstance(exc, OSError) else str(exc)
        raise LongshoreError(f"Cannot pack the root file system {root}: {reason}.") from exc
    return None if overlay is None else sorted(deleted)


def measure(root: str) -> int:
    """Return the approximate size of a tar in bytes. Raises InvalidOption for files that cannot be packed, before the dump."""
    from .sparse import is_sparse, pieces_of

    total, overlay = 0, _overlay(root)
    for entry in walk(root) if overlay is None else _changes(root, overlay, []):
        if len(entry.path) > _LONGEST_PATH:
            raise InvalidOption(
                f"The root file system {root} cannot be packed: a path in it has more than {_LONGEST_PATH} characters."
            )
        total += 3 * 512 + len(entry.path)
        if stat.S_ISREG(entry.status.st_mode):
            total += min(entry.status.st_size, entry.status.st_blocks * 512)
            if is_sparse(entry.status):
                descriptor = os.open(entry.at, _READING)
                try:
                    pieces_of(descriptor, entry.status.st_size)
                finally:
                    os.close(descriptor)
    return total


def _overlay(root: str) -> Overlay | None:
    return overlay_at(os.path.realpath(root), mountinfo.read())


def _changes(root: str, overlay: Overlay, deleted: list[str]) -> t.Iterator[Entry]:
    """Yield the entries of the upper directory. An opaque or redirected directory and its content come from the merged view."""
    merged = ""
    for entry in walk(overlay.upper):
        if merged and entry.path.startswith(f"{merged}/"):
            continue
        merged = ""
        if stat.S_ISCHR(entry.status.st_mode) and entry.status.st_rdev == 0:  # a whiteout
            deleted.append(entry.path)
            continue
        if stat.S_ISREG(entry.status.st_mode) and _METACOPY in os.listxattr(entry.at, follow_symlinks=False):
            whole = os.path.join(root, entry.path)  # The upper directory may have only its metadata.
            yield Entry(entry.path, whole, os.lstat(whole))
            continue
        yield entry
        if stat.S_ISDIR(entry.status.st_mode) and any(
            _xattr(entry.at, f"trusted.overlay.{name}") for name in ("opaque", "redirect")
        ):
            merged = entry.path
            for inner in walk(os.path.join(root, merged)):
                yield inner._replace(path=f"{merged}/{inner.path}")
            deleted += _hidden(root, overlay, merged)


def _hidden(root: str, overlay: Overlay, path: str) -> list[str]:
    """Return names that the lower directories have in a directory, but not the merged view."""
    found: set[str] = set()
    for lower in overlay.lower:
        top = os.path.join(lower, path)
        if os.path.isdir(top) and not os.path.islink(top):
            found.update(os.path.join(path, entry.path) for entry in walk(top))
    gone = {name for name in found if not os.path.lexists(os.path.join(root, name))}
    return [name for name in gone if os.path.dirname(name) not in gone]


def _xattr(path: str, name: str) -> bytes:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return b""


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    from .sparse import add as add_sparse
    from .sparse import is_sparse

    path, name = entry.at, entry.path
    header = tar.gettarinfo(path, arcname=name)
    if header is None or header.ischr() or header.isblk():  # None: a socket, which only its process can make
        return
    header.mtime = os.lstat(path).st_mtime_ns / 1e9
    header.uname = header.gname = ""  # Use the numbers, because names may differ on another host.
    headers: dict[str, str] = {}
    with contextlib.suppress(OSError):  # a file system without extended attributes
        for attribute in os.listxattr(path, follow_symlinks=False):
            if not attribute.startswith(_NEVER_PACKED):
                value = os.getxattr(path, attribute, follow_symlinks=False)
                headers[_XATTR + attribute] = value.decode("utf-8", "surrogateescape")
    header.pax_headers = headers
    if not header.isreg():
        tar.addfile(header)
        return
    with open(os.open(path, _READING), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ESTALE, f"{name} was replaced")
        if is_sparse(status):
            add_sparse(tar, header, stream)
        else:
            tar.addfile(header, stream)


def apply(root: str, path: str | None, deleted: t.Sequence[str] | None) -> None:
    """Apply the changes in a tar (if any) to a root file system. ``deleted`` None: delete all other files.

    Raises InvalidOption for a tar that leads out of the root or contains forbidden entries.
    """
    import tarfile

    try:
        with _Tree(root) as tree:
            if path is not None:
                # Read it twice, because the headers of all members may not fit into memory.
                with _members(path) as (_tar, members):
                    needed = sum(tar_members.stored_size(member) for member in members if member.isreg())
                _check_room(root, needed, whole=deleted is None)
                with _members(path) as (tar, members):
                    for member in members:
                        tree.make(tar, member)
            for name in tree.others() if deleted is None else deleted:
                tree.delete(_parts(name))
            tree.finish()
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as exc:
        raise InvalidOption(f"The changes of the root file system cannot be read: {exc}.") from exc
    except OSError as exc:
        raise LongshoreError(f"Cannot change the root file system {root}: {reason_of(exc)}.") from exc


@contextlib.contextmanager
def _members(path: str) -> t.Iterator[tuple[tarfile.TarFile, t.Iterator[tarfile.TarInfo]]]:
    with open(path, "rb") as stream, tar_members.opened(fileobj=stream, mode="r:") as tar:
        yield tar, tar_members.members(tar, most=_MOST_MEMBERS, room=os.fstat(stream.fileno()).st_size)


def _check_room(root: str, needed: int, *, whole: bool) -> None:
    """Check the space before anything is written. Sparse files need only their data, and a complete tar frees replaced files."""
    there = sum(entry.status.st_blocks * 512 for entry in walk(root)) if whole else 0
    require_room(root, needed - there, f"restore the root file system {root}")


def require_room(directory: str, needed: int, what: str) -> None:
    """Raises LongshoreError if a file system has less free space."""
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise LongshoreError(
            f"There is not enough space to {what}: it needs about {needed >> 20} MiB, and {free >> 20} MiB are free.",
            hint=f"Free space in {directory}.",
        )


def _parts(name: str) -> list[str]:
    if not isinstance(name, str) or (name.startswith("/") and name.strip("/") == ""):
        raise InvalidOption(f"{name!r} is not a name of a file.")
    # podman writes absolute names of deleted files, and tars with "./" in front.
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise InvalidOption(f"The changes of the root file system have a name that leads out of it: {name!r}.")
    return parts


class _Tree:
    """A directory tree. Files are written through descriptors of its directories, none of which is a symbolic link."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._fd = -1
        self._last: tuple[list[str], int] = [], -1  # the last opened directory, which usually contains the next entry
        self._created: set[str] = set()
        self._directories: list[tuple[list[str], tarfile.TarInfo]] = []

    def __enter__(self) -> _Tree:
        self._fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._forget([])
        os.close(self._fd)

    def _forget(self, parts: list[str]) -> None:
        """Close the cached directory if it is at or below a path that changes."""
        known, fd = self._last
        if fd >= 0 and known[: len(parts)] == parts:
            os.close(fd)
            self._last = [], -1

    @contextlib.contextmanager
    def _directory(self, parts: t.Sequence[str]) -> t.Iterator[int]:
        """Yield a directory. Raises InvalidOption if a component is not a directory, or is a symbolic link to one."""
        known, last = self._last
        if last < 0 or list(parts[: len(known)]) != known:
            known, last = [], self._fd
        fd = os.dup(last)
        try:
            for part in parts[len(known) :]:
                try:
                    inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                except OSError as exc:
                    what = f"The changes of the root file system lead through {'/'.join(parts)[-_SHOWN:]}, which is not a directory"
                    raise InvalidOption(f"{what} ({reason_of(exc)}).") from exc
                os.close(fd)
                fd = inner
            self._forget([])
            self._last = list(parts), os.dup(fd)
            yield fd
        finally:
            os.close(fd)

    def make(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = _parts(member.name)
        if not parts:
            return  # the root itself
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk() or member.isfifo()):
            raise InvalidOption(f"The changes of the root file system contain a special file: {member.name!r}.")
        if not member.isdir():
            self._forget(parts)
        with self._directory(parts[:-1]) as parent:
            _clear(parts[-1], parent, keep_directory=member.isdir())
            if member.isdir():
                with contextlib.suppress(FileExistsError):
                    os.mkdir(parts[-1], 0o700, dir_fd=parent)
                self._directories.append((parts, member))
            elif member.issym():
                os.symlink(member.linkname, parts[-1], dir_fd=parent)
                os.chown(parts[-1], member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
            elif member.islnk():
                self._link(_parts(member.linkname), parts[-1], parent)
            elif member.isfifo():
                os.mkfifo(parts[-1], 0o600, dir_fd=parent)
                os.chown(parts[-1], member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
                os.chmod(parts[-1], member.mode & 0o7777, dir_fd=parent)
                os.utime(parts[-1], (member.mtime, member.mtime), dir_fd=parent)
            else:
                self._file(tar, member, parts[-1], parent)
        self._created.add("/".join(parts))

    def _file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, parent: int) -> None:
        descriptor = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent
        )
        with open(descriptor, "wb") as target:
            source = tar.extractfile(member)
            if source is not None and member.issparse():
                from .sparse import fill

                fill(member, source, target)
            elif source is not None:
                shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            _dress(target.fileno(), member)

    def _link(self, source: list[str], name: str, parent: int) -> None:
        with self._directory(source[:-1]) as directory:
            status = os.stat(source[-1], dir_fd=directory, follow_symlinks=False) if source else None
            if status is None or not stat.S_ISREG(status.st_mode):
                raise InvalidOption(
                    f"The changes of the root file system have a link to no file: {'/'.join(source)!r}."
                )
            os.link(source[-1], name, src_dir_fd=directory, dst_dir_fd=parent, follow_symlinks=False)

    def finish(self) -> None:
        """Set owner, mode and time of directories at the end, because new entries change the time of a directory."""
        for parts, member in self._directories:
            with self._directory(parts) as directory:
                _dress(directory, member)

    def others(self) -> list[str]:
        """Return the paths that the tar did not have, without those below them."""
        gone: list[str] = []
        for name in (entry.path for entry in walk(self._root)):
            if name not in self._created and not (gone and name.startswith(gone[-1] + "/")):
                gone.append(name)
        return gone

    def delete(self, parts: list[str]) -> None:
        if parts:
            self._forget(parts)
            with contextlib.suppress(InvalidOption), self._directory(parts[:-1]) as parent:
                _clear(parts[-1], parent)


def _dress(descriptor: int, member: tarfile.TarInfo) -> None:
    os.fchown(descriptor, member.uid, member.gid)
    os.fchmod(descriptor, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith(_XATTR) and not key[len(_XATTR) :].startswith(_NEVER_PACKED):
            os.setxattr(descriptor, key[len(_XATTR) :], value.encode("utf-8", "surrogateescape"))
    os.utime(descriptor, (member.mtime, member.mtime))


def _clear(name: str, parent: int, *, keep_directory: bool = False) -> None:
    """Remove an existing entry with this name. Never follow a symbolic link."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
    elif not keep_directory:
        remove_at(parent, name)
