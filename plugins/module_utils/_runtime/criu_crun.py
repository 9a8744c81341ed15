# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declare which options crun has for a checkpoint and a restore, and since when (NEWS and source of crun).

crun declares --network-lock as if it had no value, but takes the next word for it.
"""

from __future__ import annotations

from .criu_support import NEVER, Support

_BOTH = {"manage_cgroups_mode": (1, 4, 5), "manage_cgroups_mode: ignore": (1, 4, 5), "network_lock": (1, 19)}
SUPPORT = Support(
    {**_BOTH, "tcp_skip_in_flight": NEVER, "link_remap": NEVER, "pre_dump": (1, 4, 3), "pre_dump_rounds": (1, 4, 3)},
    {**_BOTH, "tcp_close": (1, 23), "lsm_profile": (1, 18), "lsm_mount_context": (1, 18)},
    annotation="run.oci.crun.checkpoint.enabled",
    listed="+CRIU",
    resets_cgroups=True,  # restore.c, all versions so far: it parses the option, and then sets it back
    # 1.28 looks there for what it has mounted over masked directories. CRIU writes that down, and a restore does not find it.
    uses_default_root=True,
)
