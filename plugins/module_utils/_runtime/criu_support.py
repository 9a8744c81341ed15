# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe the support of a runtime for checkpoints and restores."""

from __future__ import annotations

import typing as t

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
    uses_default_root: bool = False  # for files that a dump names: XDG_RUNTIME_DIR/NAME for root, also with --root
