# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declare crun (1.8 to 1.28). criu_support declares what CRIU does for it."""

from __future__ import annotations

from .driver import Driver

# crun looks for controllers in cgroup v2 beside those in v1 (cgroup-utils.c), and reports that only at a create.
DRIVER = Driver("crun", "exec.fifo", "status", reads_accounts=False, refuses_hybrid=True, recursive_mounts=(1, 4))
