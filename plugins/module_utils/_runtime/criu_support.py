# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts about a runtime that checkpoints and restores act on."""

from __future__ import annotations

import typing as t

Version = tuple[int, ...]
NEVER: Version = (9999,)


class Support(t.NamedTuple):
    """``checkpoint`` and ``restore``: the first version that has an option, for which value if not for all. An option that is not
    there has always been."""

    checkpoint: t.Mapping[str, Version]
    restore: t.Mapping[str, Version]
    annotation: str  # of the answer to ``features``: "true" where it was built with CRIU
    listed: str | None = None  # by --version of one that has no ``features``; None: it was always built with CRIU
    resets_cgroups: bool = False  # does not heed manage_cgroups_mode: ignore in a restore
    uses_default_root: bool = False  # for files that a dump names: XDG_RUNTIME_DIR/NAME for root, whatever --root says
