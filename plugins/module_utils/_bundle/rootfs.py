# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root file systems: unpack them once on a host, then copy (or reflink) or overlay-mount them for each bundle.

STATE/roots/DIGEST.2     of images (by their layers and contents) and of tar archives; never changed again

The number is increased when earlier releases unpacked something wrong. Without one, directories may have the umask of the host.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import stat
import struct
import typing as t

from .._base import mountinfo
from .._base.deadline import Deadline
from .._base.errors import InvalidOption, LongshoreError, ProgramFailed, reason_of
from .._base.trees import mounted, refuse_mounts, unmount
from .._bundle_spec import parse, spec
from .._bundle_spec.image_document import ImageConfig, file_name
from .._bundle_spec.options import Options, Source
from .._trust.tree_walk import Entry, walk
from . import tools
from .facts import leads_to
from .image import Images

Maps = t.Mapping[str, t.Sequence[parse.IdMap]]
# Device nodes that every container has: null, zero, full, random, urandom, tty. Any other in an image is removed.
_HARMLESS = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)}
_VERSION = ".2"
_CAPABILITY = "security.capability"
_NO_NODE = r"^(?:.*tar: .*: Cannot mknod|.*cp: cannot create special file .*): Operation not permitted$"
_SHOWN = 200  # characters of a path in a message


class Roots:
    """The unpacked root file systems below one state directory."""

    def __init__(self, state_dir: str) -> None:
        self._root = f"{state_dir}/roots"

    def path(self, source: Source) -> str | None:
        """Return the path of the files of a source, or None if it is not unpacked yet."""
        if source.kind != "directory" and not source.files:
            return None
        path = source.path if source.kind == "directory" else self._path(source)
        return path if os.path.isdir(path) else None

    def _path(self, source: Source) -> str:
        return f"{self._root}/{file_name(source.files)}{_VERSION}"

    def lower(self, source: Source, name: str | None) -> str | None:
        """Return the files below an existing overlay, which has recorded their ``name``, or None if they are gone.

        They stay as they are: the kernel may refuse the changes of an overlay over other files (index=on). An earlier release
        recorded no name.
        """
        name = name or file_name(source.files)
        return f"{self._root}/{name}" if os.path.isdir(self._root) and name in os.listdir(self._root) else None

    def unpack(self, source: Source, images: Images, deadline: Deadline) -> str:
        """Return the path of the files of a source, and unpack it if needed. An existing path is complete, because it was renamed
        after that."""
        found = self.path(source)
        if found:
            return found
        with tools.workspace(self._root) as space:
            unpacked = f"{space}/root"
            what = f"unpack {(source.image or {}).get('reference') or source.path}"
            if source.kind == "image":
                rootless = ["--rootless"] if os.geteuid() != 0 else []
                argv = ["umoci", "raw", "unpack", *rootless, "--image", images.layout(source), unpacked]
            else:
                os.mkdir(unpacked)
                os.chmod(unpacked, 0o755)
                same = ["--same-owner"] if os.geteuid() == 0 else ["--no-same-owner"]
                argv = [
                    "tar", "--extract", "--file", source.path, "--directory", unpacked, "--numeric-owner", *same,
                    "--preserve-permissions", "--xattrs", "--xattrs-include=*",
                ]  # fmt: skip
            # A user other than root gets no device nodes, from umoci neither.
            tools.call(argv, deadline, what=what, place=self._root, temporary=space, ignored=_ignored())
            if source.kind == "tar" and os.access(unpacked, os.R_OK) and not os.listdir(unpacked):
                # tar takes a file without a byte for an archive. One of an empty directory has a member, which is this directory.
                listing = ["tar", "--list", "--file", source.path]
                if not tools.call(listing, deadline, what=what, temporary=space).stdout.strip():
                    raise InvalidOption(f"There is no file in the archive {source.path}.", hint="Is it complete?")
            tame(unpacked)
            tools.keep(unpacked, self._path(source))
        return self._path(source)


def copy(files: str, to: str, maps: Maps, deadline: Deadline) -> None:
    """Copy with owners, times, links and extended attributes, and share blocks if the file system supports it."""
    from . import used_directory

    space = os.path.dirname(to)

    def cp(words: t.Sequence[str]) -> None:
        argv, what = ["cp", "--archive", "--reflink=auto", *words], f"copy the root file system {files}"
        call = functools.partial(
            tools.call, argv, deadline, what=what, place=os.path.dirname(space), temporary=space, ignored=_ignored()
        )
        try:
            call()
        except ProgramFailed as exc:
            said = [line for line in exc.details["stderr"].split("\n") if line and not re.search(_NO_NODE, line)]
            if os.geteuid() == 0 or not all(line.endswith(": Permission denied") for line in said):
                raise
            # In a user namespace, the owner of files can read them whatever their modes are. It has no other user, so files of others
            # fail there for another reason.
            try:
                call(prefix=["unshare", "--map-root-user"])
            except LongshoreError:
                raise exc from None

    with used_directory.uncovered(files) as (path, mounts):
        if mounts:
            used_directory.copy(path, to, mounts, cp)
        else:
            try:
                cp(["--no-target-directory", path, to])
            except ProgramFailed as exc:
                raise ProgramFailed(exc.message.replace(path, files), hint=exc.hint, **exc.details) from exc
    tame(to)
    if maps and os.geteuid() == 0:
        shift(to, maps)


def _ignored() -> str:
    return "" if os.geteuid() == 0 else _NO_NODE


def tame(root: str) -> None:
    """Remove device nodes: in a privileged container, or for users of the host, one of them could be the disk. Only root has them."""
    if os.geteuid() != 0:
        return
    for entry in walk(root):
        found = entry.status
        if stat.S_ISBLK(found.st_mode) or (
            stat.S_ISCHR(found.st_mode) and (os.major(found.st_rdev), os.minor(found.st_rdev)) not in _HARMLESS
        ):
            os.unlink(entry.at)


def shift(root: str, maps: Maps) -> None:
    """Change the owner of every file according to the mappings. This removes setuid bits and capabilities, so restore them,
    the latter bound to the root of the user namespace."""
    done: set[tuple[int, int]] = set()
    _shift(Entry("", root, os.lstat(root)), maps)
    for entry in walk(root):
        found = entry.status
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            if (found.st_dev, found.st_ino) in done:
                continue
            done.add((found.st_dev, found.st_ino))
        _shift(entry, maps)


def _shift(entry: Entry, maps: Maps) -> None:
    path, found, top = entry.at, entry.status, parse.mapped(0, maps["uid"])
    uid, gid = parse.mapped(found.st_uid, maps["uid"]), parse.mapped(found.st_gid, maps["gid"])
    if uid is None or gid is None:
        where = f"/{entry.path}"[-_SHOWN:]
        raise InvalidOption(f"The owner {found.st_uid}:{found.st_gid} of {where} in the image is not mapped by userns.")
    regular = stat.S_ISREG(found.st_mode)
    capability = b""
    if regular and _CAPABILITY in os.listxattr(path, follow_symlinks=False):
        capability = os.getxattr(path, _CAPABILITY, follow_symlinks=False)
    os.chown(path, uid, gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(path, stat.S_IMODE(found.st_mode))
    if len(capability) >= 20:
        # struct vfs_ns_cap_data, revision 3 (linux/capability.h).
        (magic,) = struct.unpack_from("<I", capability)
        data = struct.pack("<I", 0x03000000 | magic & 1) + capability[4:20] + struct.pack("<I", top or 0)
        os.setxattr(path, _CAPABILITY, data, follow_symlinks=False)


def mount(lower: str, root: str, deadline: Deadline, label: str = "") -> None:
    """Mount an overlay at ``root`` over ``lower``. Changes are stored beside it and survive a reboot. All files have the SELinux
    ``label``, if any."""
    for path in (lower, root):
        if set(path) & set(",:\\"):
            raise InvalidOption(f"{path} cannot be used with rootfs_mode: overlay, because it contains one of , : \\.")
    for directory in (f"{root}.upper", f"{root}.work", root):
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o755)
        os.chmod(directory, 0o755)
    # The root directory of the container has the owner and mode of the image's.
    found = os.stat(lower)
    os.chown(f"{root}.upper", found.st_uid, found.st_gid)
    os.chmod(f"{root}.upper", stat.S_IMODE(found.st_mode))
    # overlayfs must not follow its attributes on files of the image.
    options = f"lowerdir={lower},upperdir={root}.upper,workdir={root}.work,redirect_dir=nofollow,metacopy=off"
    options += f',context="{label}"' if label else ""
    tools.call(["mount", "-t", "overlay", "overlay", "-o", options, root], deadline, what=f"mount {root}")


def lower_of(root: str) -> str | None:
    """Return the name of the unpacked files below a mounted overlay, or None if there is none, or if they are a given directory."""
    from .._host.overlay import overlay_at

    found = overlay_at(os.path.realpath(root), mountinfo.read())
    lower = found.lower[0] if found else ""
    return os.path.basename(lower) if os.path.basename(os.path.dirname(lower)) == "roots" else None


def remove(root: str) -> None:
    """Remove a root file system of a bundle, if it exists. Unmount its overlay first.

    Refuse any other mount in it before a file is removed.
    """
    if os.path.realpath(root) in mounted(root):
        unmount(root)
    paths = root, f"{root}.upper", f"{root}.work"
    refuse_mounts(*paths)
    for path in paths:
        tools.discard(path)


def tar_stamp(path: str) -> tuple[int, ...]:
    """Return the stamp of a regular file. Refuse any other file, because reading it may never end."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidOption(f"{path} is neither a directory nor a tar archive.")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def tar_digest(path: str) -> str:
    total = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(2**20), b""):
                total.update(block)
    except OSError as exc:
        raise LongshoreError(f"Cannot read {path}: {reason_of(exc)}.") from exc
    return f"sha256:{total.hexdigest()}"


def directory_digest(path: str) -> str:
    """Return the digest of names, owners, modes, sizes and times. Read no file. A new copy of the tree has another digest. Whether
    something is mounted in it makes no difference to root, and to others only where that hides more than an empty directory."""
    from . import used_directory

    total = hashlib.sha256()
    with used_directory.uncovered(path) as (path, mounts):
        for entry in itertools.chain([Entry("", path, os.lstat(path))], walk(path, closed=mounts)):
            s, name = entry.status, f"/{entry.path}" if entry.path else ""
            if entry.path in mounts:
                if not stat.S_ISDIR(s.st_mode):
                    continue
                s = used_directory.EMPTY
            link = os.readlink(entry.at) if stat.S_ISLNK(s.st_mode) else ""
            size, time = (0, 0) if stat.S_ISDIR(s.st_mode) else (s.st_size, s.st_mtime_ns)
            total.update(
                repr((name, link, s.st_mode, s.st_uid, s.st_gid, size, time, s.st_rdev)).encode("utf-8", "replace")
            )  # fmt: skip
    return f"sha256:{total.hexdigest()}"


def check_places(root: str, image: ImageConfig, options: Options) -> None:
    """Refuse an image in which links lead a volume or the working directory to a forbidden place."""
    from . import used_directory

    with used_directory.uncovered(root) as (at, _mounts):
        _check_places(at, image, options)


def _check_places(root: str, image: ImageConfig, options: Options) -> None:
    for place in spec.wanted_volumes(image, options):
        to = leads_to(root, place)
        if to is None or (spec.is_reserved(to) and not spec.is_reserved(place)):
            hint = "Mount something else there, or set image_volumes: ignore."
            raise InvalidOption(f"The image is not valid: its volume {place} leads to {to or 'itself'}.", hint=hint)
    # CVE-2024-21626: there may be descriptors of the host. The image has the links, even if the task sets the directory.
    cwd = options.chdir or image.workdir
    to = leads_to(root, cwd)
    if to is None or (f"{to}/".startswith("/proc/") and not (options.chdir or "").startswith("/proc/")):
        raise InvalidOption(f"The image is not valid: its working directory {cwd} leads to {to or 'itself'}.")
