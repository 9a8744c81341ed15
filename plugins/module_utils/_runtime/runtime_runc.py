# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declare runc (1.1 to 1.3). criu_support declares what CRIU does for it."""

from __future__ import annotations

from .driver import Driver

DRIVER = Driver("runc", "exec.fifo", "state.json", groups_need_root=True, recursive_mounts=(1, 1))
