# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SELinux, where it is enabled (``files.has_labels``): the level of conmon, the labels of logs and checkpoint images, and of CRIU's sockets.

As podman does it. Labels are attributes of a thread (/proc/thread-self/attr), so other threads do not notice.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.errors import EngineError, reason_of
from .._base.files import read_text

_NAME = "security.selinux"
_ATTRIBUTES = "/proc/thread-self/attr"
_LOWEST = "s0"


def lowest_level(label: str) -> str | None:
    """The label ``user:role:type:level`` with the level s0; None where it has that already, or no level at all."""
    parts = label.strip("\0 \n").split(":", 3)
    return None if len(parts) < 4 or parts[3] == _LOWEST else ":".join([*parts[:3], _LOWEST])


@contextlib.contextmanager
def for_conmon(attributes: str = _ATTRIBUTES) -> t.Iterator[None]:
    """What this thread starts meanwhile runs at level s0: conmon handles containers of every level."""
    label = lowest_level(read_text(f"{attributes}/current") or "")
    with _attribute(f"{attributes}/exec", label):
        yield


@contextlib.contextmanager
def for_sockets(config: t.Mapping[str, t.Any], attributes: str = _ATTRIBUTES) -> t.Iterator[None]:
    """Sockets that are made meanwhile have the label of the container's processes, which they are handed to by CRIU."""
    with _attribute(f"{attributes}/sockcreate", (config.get("process") or {}).get("selinuxLabel")):
        yield


def label_file(path: str, config: t.Mapping[str, t.Any]) -> None:
    """Give a log, or a directory of checkpoint images, the mount label of the container, if it has one."""
    label = (config.get("linux") or {}).get("mountLabel")
    if label:
        os.setxattr(path, _NAME, label.encode() + b"\0", follow_symlinks=False)


def label_tree(path: str, label: str) -> None:
    """Give a directory and all that is in it a label, the directory itself last: one that has it is not walked again.

    By descriptors, and never through a symbolic link: a container may move what is in there meanwhile. Raises EngineError.
    """
    value = label.encode() + b"\0"
    try:
        with contextlib.suppress(OSError):
            if os.getxattr(path, _NAME, follow_symlinks=False) == value:
                return
        for _directory, names, files, descriptor in os.fwalk(path, topdown=False, onerror=_fail):
            for name in (*names, *files):
                with contextlib.suppress(FileNotFoundError):
                    os.setxattr(f"/proc/self/fd/{descriptor}/{name}", _NAME, value, follow_symlinks=False)
        os.setxattr(path, _NAME, value, follow_symlinks=False)
    except (OSError, RecursionError) as exc:
        why = reason_of(exc) if isinstance(exc, OSError) else "its directories are too deep"
        raise EngineError(f"Cannot give {path} the label {label}: {why}.") from exc


def _fail(exc: OSError) -> t.NoReturn:
    raise exc


@contextlib.contextmanager
def _attribute(path: str, label: str | None) -> t.Iterator[None]:
    if not label:
        yield
        return
    _write(path, label)
    try:
        yield
    finally:
        _write(path, "")


def _write(path: str, label: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, label.encode())  # nothing at all takes the label away
    finally:
        os.close(descriptor)
