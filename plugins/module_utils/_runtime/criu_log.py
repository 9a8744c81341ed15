# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read why CRIU failed, from its log. Pure."""

from __future__ import annotations

import re
import typing as t

_CRIU_NOISE = re.compile(
    r"rlimit: |exited, status=|Dump files |Dumping FAILED|Restoring FAILED|\S+save -V failed"
    # Of the end after a failure: the directory is removed by restore_leftovers.py.
    r"|mnt: Can't remove the directory /tmp/\.criu|cg: cgroupd: recv req error"
)


def criu_error(log: t.Sequence[str]) -> str:
    """Return why CRIU failed, from its log: the last errors, without those that it also logs on success."""
    errors = [re.sub(r"^(\([\d.]+\) +(\d+: )?)?Error \([^)]*\): ", "", line) for line in log if "Error (" in line]
    return "; ".join(list(dict.fromkeys(text.rstrip(".") for text in errors if not _CRIU_NOISE.match(text)))[-3:])
