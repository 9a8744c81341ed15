# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declare runc (1.1 to 1.3). criu_support declares what CRIU does for it."""

from __future__ import annotations

from .driver import Driver

# 1.1.12, and earlier ones with its security fix, close the pipe for errors before execve(2) and exit with 1, 1.2 with 255.
DRIVER = Driver("runc", "exec.fifo", "state.json", groups_need_root=True, recursive_mounts=(1, 1))
