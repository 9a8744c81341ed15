# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose how a bundle gets its root file system, where the task leaves it to this host (``rootfs_mode: auto``)."""

from __future__ import annotations

import contextlib
import os

from .._base.deadline import Deadline
from .._base.errors import LongshoreError
from .._base.trees import unmount
from .._bundle_spec.options import BundleRecord, Request
from . import rootfs, tools

_SECONDS = 10


def chosen(request: Request, record: BundleRecord, state_dir: str, *, check: bool) -> Request:
    """Return the request with a mode. An existing bundle keeps its mode, so that no release or host makes it again. A new one gets an
    overlay where one can be mounted, else a copy. For check mode, both are the same: a new bundle."""
    mode = record.rootfs_mode if record.root else None
    if mode is None:
        mode = "overlay" if not check and _is_possible(request) and works(request.path, state_dir) else "copy"
    return request._replace(rootfs_mode=mode)


def _is_possible(request: Request) -> bool:
    """Tell whether the options allow an overlay. A directory of the host may change below it."""
    is_directory = request.rootfs is not None and os.path.isdir(request.rootfs)
    return os.geteuid() == 0 and not request.options.userns and not is_directory


def works(path: str, state_dir: str) -> bool:
    """Mount an overlay to see whether the file system and the rights of this task allow it, with the bundle on the same file system."""
    if set(path + state_dir) & set(",:\\\\"):
        return False
    there = path
    while not os.path.exists(there):
        there = os.path.dirname(there)
    with contextlib.suppress(LongshoreError, OSError), tools.workspace(f"{state_dir}/roots") as space:
        if os.stat(there).st_dev != os.stat(space).st_dev:
            return False
        os.mkdir(f"{space}/lower")
        try:
            rootfs.mount(f"{space}/lower", f"{space}/root", Deadline(_SECONDS))
            with open(f"{space}/root/file", "wb"):
                pass
            return True
        finally:
            if os.path.ismount(f"{space}/root"):
                unmount(f"{space}/root")
    return False
