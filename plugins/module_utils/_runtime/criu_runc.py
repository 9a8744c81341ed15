# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declare which options runc has for a checkpoint and a restore, and since when (CHANGELOG and source of runc)."""

from __future__ import annotations

from .criu_support import NEVER, Support

_BOTH = {"manage_cgroups_mode: ignore": (1, 2), "network_lock": NEVER}
SUPPORT = Support(
    {**_BOTH, "tcp_skip_in_flight": (1, 3), "link_remap": (1, 3)},
    {**_BOTH, "tcp_close": NEVER, "lsm_profile": (1, 1), "lsm_mount_context": (1, 1)},
    annotation="org.opencontainers.runc.checkpoint.enabled",
)
