# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the mount points of a restored container, as the runtime does for a created one.

CRIU creates none. crun creates those in the root file system, but not those below another mount, and neither runtime can create
one in a root file system that is read-only from the start (_container/restored_limits.py). So a container was restored only where it ran
before. Nothing is created on a tmpfs, whose content CRIU restores. A process may have changed a volume, so no symbolic link is
followed there.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import typing as t

from .._base.errors import InvalidOption
from .._config import program_file

Config = t.Mapping[str, t.Any]
_ENTERING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class MountPoint(t.NamedTuple):
    """The mount point ``path``, relative to the directory ``top`` on the host. ``place``: in the container."""

    top: str
    path: str
    place: str
    is_directory: bool


def needed(config: Config) -> list[MountPoint]:
    """Return the mount points that lie in the root file system or in a directory of the host, in the order of the mounts."""
    tree, found = program_file.tree_of(config), []
    root = config["root"]["path"]
    above: list[tuple[str, str | None, t.Any]] = [("/", root, None)]
    for mount in config.get("mounts") or []:
        place = posixpath.normpath(f"/{mount.get('destination')}").replace("//", "/")
        with contextlib.suppress(OSError, program_file.Unknown):
            place = tree.resolve(place, missing=True)
        bind = mount.get("type") == "bind" or {"bind", "rbind"} & set(mount.get("options") or ())
        source = str(mount.get("source")) if bind else None
        is_directory = source is None or not os.path.exists(source) or os.path.isdir(source)
        below = [each for each in above if f"{place}/".startswith(f"{each[0].rstrip('/')}/") and each[0] != place]
        where, top, kind = below[-1] if below else ("/", None, None)
        if top is not None and os.path.isdir(top):
            found.append(MountPoint(top, posixpath.relpath(place, where), place, is_directory))
        # crun also creates these in the root file system, where the mount above covers them.
        if config["root"].get("readonly") and where != "/" and kind != "tmpfs":
            found.append(MountPoint(root, place[1:], place, is_directory))
        above.append((place, source, mount.get("type")))
    return found


def check(config: Config) -> None:
    """Raises InvalidOption for a file in a volume where a directory is to be mounted, or the reverse, of which CRIU says nothing clear.
    The root file system may still change (_checkpoint/lay_out.py)."""
    for point in needed(config):
        with contextlib.suppress(OSError):
            mode = os.lstat(f"{point.top}/{point.path}").st_mode
            wrong = not stat.S_ISLNK(mode) and stat.S_ISDIR(mode) != point.is_directory
            if wrong and point.top != config["root"]["path"]:
                one, other = ("a file", "a directory") if point.is_directory else ("a directory", "a file")
                raise InvalidOption(
                    f"{point.top}/{point.path} is {one}, and the container has {other} mounted there (at {point.place})."
                )


@contextlib.contextmanager
def created(config: Config) -> t.Iterator[None]:
    """Create the missing mount points. Remove them again if the restore fails."""
    made: list[tuple[int, str, bool]] = []
    try:
        for point in needed(config):
            with contextlib.suppress(OSError):  # The runtime or CRIU says what it then cannot mount.
                _create(point, made)
        yield
    except BaseException:
        for above, name, is_directory in reversed(made):
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=above) if is_directory else os.unlink(name, dir_fd=above)
        raise
    finally:
        for above, _name, _is_directory in made:
            os.close(above)


def _create(point: MountPoint, made: list[tuple[int, str, bool]]) -> None:
    """Create one mount point, and record what is new, with a descriptor of the directory above."""
    here = os.open(point.top, _ENTERING & ~os.O_NOFOLLOW)
    try:
        *parents, last = point.path.split("/")
        for name in [*parents, last] if point.is_directory else parents:
            is_new = False
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=here)
                made.append((os.dup(here), name, True))
                is_new = True
            inner = os.open(name, _ENTERING, dir_fd=here)
            os.close(here)
            here = inner
            if is_new:
                os.fchmod(here, 0o755)  # The umask of the host is not that of the container.
        if not point.is_directory:
            with contextlib.suppress(FileExistsError):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(last, flags, 0o644, dir_fd=here))
                made.append((os.dup(here), last, False))
    finally:
        os.close(here)
