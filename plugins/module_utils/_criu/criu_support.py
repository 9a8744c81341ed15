# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declare which options each runtime has for a checkpoint and a restore, and since when. Only checkpoints import it.

By the changelogs and sources of the runtimes (crun: NEWS).
"""

from __future__ import annotations

import typing as t

from .._runtime import runtime_crun, runtime_runc

Version = tuple[int, ...]
NEVER: Version = (9999,)


class Support(t.NamedTuple):
    """``checkpoint`` and ``restore``: the first version with an option, or with one value of it. An option that is not
    listed exists in all versions."""

    checkpoint: t.Mapping[str, Version]
    restore: t.Mapping[str, Version]
    annotation: str  # in the output of ``features``: "true" if it was built with CRIU
    listed: str | None = None  # in the output of --version, without ``features``; None: always built with CRIU
    resets_cgroups: bool = False  # a restore ignores manage_cgroups_mode: ignore
    resolves_places: Version = ()  # since when it resolves symbolic links in the destination of a mount for CRIU
    uses_default_root: bool = False  # for files that a dump names: XDG_RUNTIME_DIR/NAME for root, also with --root


_CRUN_BOTH = {"manage_cgroups_mode": (1, 4, 5), "manage_cgroups_mode: ignore": (1, 4, 5), "network_lock": (1, 19)}
# crun declares --network-lock as if it had no value, but takes the next word for it.
_CRUN = Support(
    {
        **_CRUN_BOTH,
        "tcp_skip_in_flight": NEVER, "link_remap": NEVER, "pre_dump": (1, 4, 3), "pre_dump_rounds": (1, 4, 3),
    },
    {**_CRUN_BOTH, "tcp_close": (1, 23), "lsm_profile": (1, 18), "lsm_mount_context": (1, 18)},
    annotation="run.oci.crun.checkpoint.enabled",
    listed="+CRIU",
    resolves_places=(1, 22),
    resets_cgroups=True,  # restore.c, all versions so far: it parses the option, and then sets it back
    # 1.28 looks there for what it has mounted over masked directories. CRIU writes that down, and a restore does not find it.
    uses_default_root=True,
)  # fmt: skip
_RUNC_BOTH = {"manage_cgroups_mode: ignore": (1, 2), "network_lock": NEVER}
_RUNC = Support(
    {**_RUNC_BOTH, "tcp_skip_in_flight": (1, 3), "link_remap": (1, 3)},
    {**_RUNC_BOTH, "tcp_close": NEVER, "lsm_profile": (1, 1), "lsm_mount_context": (1, 1)},
    annotation="org.opencontainers.runc.checkpoint.enabled",
)
# By the name of the runtime. Nothing is known of others: those say themselves what they do not take.
SUPPORT = {runtime_crun.DRIVER.name: _CRUN, runtime_runc.DRIVER.name: _RUNC}
