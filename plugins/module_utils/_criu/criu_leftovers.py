# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what CRIU leaves in ``/tmp`` of the host after a failed or killed restore.

CRIU (mount.c) prepares the mounts of a container in a new directory there, on a tmpfs. If a mount fails, that tmpfs stays mounted.
Only the log of the restore has the name of the directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat

from .._base.errors import LongshoreError
from .._base.files import read_text
from .._base.trees import unmount

_YARD = re.compile(r"/tmp/\.criu\.mntns\.[0-9A-Za-z]{6}(?![0-9A-Za-z])")


def remove(log: str) -> None:
    """Unmount and remove the directories that a log of CRIU names. One of another user, or with content, stays."""
    with contextlib.suppress(LongshoreError):
        for path in sorted(set(_YARD.findall(read_text(log) or ""))):
            with contextlib.suppress(OSError, LongshoreError):
                found = os.lstat(path)
                if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                    unmount(path)
                    os.rmdir(path)
