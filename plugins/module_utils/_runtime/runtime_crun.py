# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declare crun (1.8 to 1.28). What CRIU does for it is declared in criu_crun."""

from __future__ import annotations

from .driver import Driver

# It looks for controllers in cgroup v2 beside those in v1 (cgroup-utils.c), and says so only at the first create.
DRIVER = Driver("crun", "exec.fifo", "status", reads_accounts=False, refuses_hybrid=True)
