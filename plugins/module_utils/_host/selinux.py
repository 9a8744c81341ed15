# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SELinux, if enabled (selinux_state.py): the level of conmon, and the labels of logs, checkpoint images and CRIU's sockets.

As in podman. Labels are attributes of a thread (/proc/thread-self/attr), so other threads are not affected.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.files import read_text

_NAME = "security.selinux"
ATTRIBUTES = "/proc/thread-self/attr"
_LOWEST = "s0"


def lowest_level(label: str) -> str | None:
    """Return the label ``user:role:type:level`` with the level s0, or None if it already has that or has no level."""
    parts = label.strip("\0 \n").split(":", 3)
    return None if len(parts) < 4 or parts[3] == _LOWEST else ":".join([*parts[:3], _LOWEST])


@contextlib.contextmanager
def for_conmon(attributes: str = ATTRIBUTES) -> t.Iterator[None]:
    """Run programs that this thread starts at level s0, because conmon handles containers of every level."""
    label = lowest_level(read_text(f"{attributes}/current") or "")
    with attribute(f"{attributes}/exec", label):
        yield


def label_file(path: str, config: t.Mapping[str, t.Any]) -> None:
    """Give a log, or a directory of checkpoint images, the mount label of the container, if it has one."""
    label = (config.get("linux") or {}).get("mountLabel")
    if label:
        os.setxattr(path, _NAME, label.encode() + b"\0", follow_symlinks=False)


@contextlib.contextmanager
def attribute(path: str, label: str | None) -> t.Iterator[None]:
    """Give this thread an attribute while the block runs; None leaves it as it is."""
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
        os.write(descriptor, label.encode())  # an empty value removes the label
    finally:
        os.close(descriptor)
