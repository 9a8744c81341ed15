# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a restored container the same limits as one that the runtime creates.

CRIU restores each mount with the flags in its images, except the root file system. That one has the flags of the mount from
the runtime, which is writable (https://github.com/checkpoint-restore/criu/issues/2632). So conmon and the runtime run in a mount
namespace in which the root file system is already read-only before the first process runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from .._base import mountinfo
from .._base.deadline import Deadline
from .._base.errors import LongshoreError, MissingPrerequisite, ProgramFailed
from .._base.files import read_text, split_lines
from .._base.program import find_program, run
from .._config import program_file
from .._runtime import mount_points

Config = t.Mapping[str, t.Any]
_ENTER = ("--mount", "--propagation", "slave", "--", "/bin/sh", "-c")
_MOUNT = 'mount --bind -- "$1" "$1" && mount -o "$2" -- "$1" && shift 2 && exec "$@"'
# A remount must contain all flags.
_KEPT = {"nosuid": os.ST_NOSUID, "nodev": os.ST_NODEV, "noexec": os.ST_NOEXEC, "noatime": os.ST_NOATIME}


def is_read_only(config: Config) -> bool:
    return bool((config.get("root") or {}).get("readonly"))


def check_possible(config: Config) -> None:
    """Raise MissingPrerequisite or InvalidOption for a container that cannot be restored with its limits and mounts."""
    check_programs(config)
    mount_points.check(config)


def check_programs(config: Config) -> None:
    """Raise MissingPrerequisite if a program is missing that a read-only root file system needs."""
    missing = [name for name in ("unshare", "mount") if find_program(name) is None]
    if is_read_only(config) and missing:
        raise MissingPrerequisite(
            f"The root file system of the container is read-only, and {missing[0]} is missing: CRIU would restore it writable.",
            hint="Install util-linux.",
        )


@contextlib.contextmanager
def read_only_root(root: str, argv: t.Sequence[str], staged: str | None = None) -> t.Iterator[list[str]]:
    """Yield the command line that runs ``argv`` with ``root``, or its staged mount (userns.py), read-only.

    To change the root, CRIU (mount.c, cr_pivot_root) uses its directory ``tmp``, and creates one if it is missing, which fails on
    a read-only file system. So create an empty one for the duration of the restore.
    """
    flags = os.statvfs(root).f_flag
    options = ",".join(["remount", "bind", "ro", *(name for name, bit in _KEPT.items() if flags & bit)])
    created = _make_directory(f"{root}/tmp")
    try:
        yield [find_program("unshare") or "unshare", *_ENTER, _MOUNT, "sh", staged or root, options, *argv]
    finally:
        if created:
            with contextlib.suppress(OSError):
                os.rmdir(f"{root}/tmp")


@contextlib.contextmanager
def prepared(config: Config) -> t.Iterator[None]:
    """Prepare this process and the mount points for conmon."""
    with no_groups(), mount_points.created(config):
        yield


@contextlib.contextmanager
def no_groups() -> t.Iterator[None]:
    """Start conmon without supplementary groups. CRIU (restorer.c) would give a process without groups those of the task."""
    groups = os.getgroups()
    os.setgroups([])
    try:
        yield
    finally:
        os.setgroups(groups)


def _make_directory(path: str) -> bool:
    try:
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)  # The umask of the host is not that of the container.
        return True
    except OSError:
        return False  # It exists, or the file system is read-only on the host too.


def release(monitor: int, config: Config) -> None:
    """Show conmon and its exit command the root file system as on the host. The container has its own mount."""
    root = os.path.realpath(config["root"]["path"])
    if not is_read_only(config) or not monitor:
        return
    argv = [find_program("nsenter") or "nsenter", f"--mount=/proc/{monitor}/ns/mnt", "umount", "-l", "--", root]
    with contextlib.suppress(LongshoreError):
        run(argv, Deadline(10), what=f"unmount {root}")


def check(name: str, pid: int, config: Config) -> None:
    """Raises ProgramFailed where the first process of a restored container may do more than its config says."""
    try:
        found, status = mountinfo.read(f"/proc/{pid}/mountinfo"), read_text(f"/proc/{pid}/status")
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, errno.ESRCH, errno.EINVAL):  # EINVAL: a zombie
            raise
        return  # It has ended.
    if status is None or "\nSeccomp:" not in status:
        return
    lost = [
        *lost_mounts(config, flags_by_place(found), lambda path: resolved(f"/proc/{pid}/root", path)),
        *lost_limits(config, dict(line.partition(":\t")[::2] for line in split_lines(status))),
    ]
    if lost and os.path.exists(f"/proc/{pid}/root/"):
        raise ProgramFailed(f"The container {name} was restored without its limits: {', '.join(lost)}")


def flags_by_place(mounts: t.Iterable[mountinfo.Mount]) -> dict[str, tuple[str, ...]]:
    """Return the flags by mount point; those of the uppermost mount where several are at one place."""
    return {mount.place: mount.options for mount in mounts}


def resolved(top: str, path: str) -> str | None:
    """Return the path of a process with the root ``top`` without links, which start at its root. None if it does not exist."""
    with contextlib.suppress(OSError, program_file.Unknown):
        real = program_file.Tree(top, real=True).resolve(path)
        return real if os.path.lexists(f"{top}{real}") else None
    return None


def lost_mounts(
    config: Config, found: t.Mapping[str, t.Sequence[str]], resolved: t.Callable[[str], str | None]
) -> t.Iterator[str]:
    """Yield what the process can write or read although the config forbids it. ``resolved`` returns a path of the process without
    links, or None if it does not exist. A runtime follows the links of these paths too."""
    if is_read_only(config) and "ro" not in found.get("/", ()):
        yield "its root file system is writable"
    linux = config.get("linux") or {}
    for path in linux.get("readonlyPaths") or []:
        place = real = resolved(path)
        while place and place not in found and place != "/":
            place = os.path.dirname(place)
        if real and "ro" not in found.get(place or "/", ()):
            yield f"{path} is writable"
    for path in linux.get("maskedPaths") or []:
        real = resolved(path)
        if real and real not in found:
            yield f"{path} is not masked"


def lost_limits(config: Config, status: t.Mapping[str, str]) -> t.Iterator[str]:
    """Yield what the kernel does not forbid the process, according to its ``/proc/PID/status``."""
    if (config.get("process") or {}).get("noNewPrivileges") and status.get("NoNewPrivs") == "0":
        yield "it can gain new privileges"
    if (config.get("linux") or {}).get("seccomp") and status.get("Seccomp") == "0":
        yield "it has no seccomp filter"
