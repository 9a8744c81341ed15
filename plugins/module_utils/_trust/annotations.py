# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep of annotations that come from outside (labels of an image, the config in an archive) only those that nothing acts
upon. Pure.

Runtimes, systemd and CRIU take orders from annotations: ``run.oci.*`` turns seccomp off, ``org.systemd.property.*`` starts
and stops units of the host, ``org.criu.config`` runs a script as root (CVE-2024-3154 is of this kind). There is no end to
such names, so this is a list of what may pass. What a task gives in ``annotations`` is its own and does not come here.
"""

from __future__ import annotations

import re
import typing as t

from .._base.errors import InvalidInput
from .._base.process import parse_signal

STOP_SIGNAL = "org.opencontainers.image.stopSignal"  # the only one that this collection acts upon
# The prefix that the image-spec keeps for itself. crun and runc say things there, and read nothing.
_HARMLESS = re.compile(r"org\.opencontainers\.[A-Za-z0-9._-]{1,200}")
_MOST_TEXT = 65536


def from_outside(labels: t.Any) -> dict[str, str]:
    """Return the harmless ones, also where ``labels`` is anything that a JSON document can hold."""
    if not isinstance(labels, t.Mapping):
        return {}
    return {key: value for key, value in labels.items() if _is_harmless(key, value)}


def _is_harmless(key: t.Any, value: t.Any) -> bool:
    if not isinstance(key, str) or not isinstance(value, str) or not _HARMLESS.fullmatch(key):
        return False
    return is_signal(value) if key == STOP_SIGNAL else is_text(value)


def is_text(value: t.Any, most: int = _MOST_TEXT) -> bool:
    """Whether a value is text that a program can be given: no NUL, no half of a surrogate pair, not too long."""
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        return False
    try:
        return len(value.encode()) <= most
    except UnicodeEncodeError:
        return False


def is_signal(value: str) -> bool:
    if not re.fullmatch(r"[A-Za-z0-9+]{1,16}", value):
        return False
    try:
        return parse_signal(value) > 0
    except InvalidInput:
        return False
