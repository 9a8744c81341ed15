# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label the files of a bundle for SELinux."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._base.errors import LongshoreError, reason_of

_NAME = "security.selinux"


def label_tree(path: str, label: str) -> None:
    """Label a directory tree, with the directory itself last. A directory that already has the label is not walked again.

    Use descriptors and never follow a symbolic link, because a container may move files at the same time. Raises LongshoreError.
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
        raise LongshoreError(f"Cannot give {path} the label {label}: {why}.") from exc


def _fail(exc: OSError) -> t.NoReturn:
    raise exc
