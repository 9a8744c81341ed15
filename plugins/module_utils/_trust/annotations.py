# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter annotations from outside (labels of an image, the config in an archive): keep only those that no program obeys.
Pure.

Annotations control runtimes, systemd and CRIU: ``run.oci.*`` disables seccomp, ``org.systemd.property.*`` starts and stops
units of the host, ``org.criu.config`` runs a script as root (as in CVE-2024-3154). No list of such names is complete, so
this is an allow list. It does not apply to the option ``annotations`` of a task.
"""

from __future__ import annotations

import re
import typing as t

from .._base.errors import InvalidOption
from .._base.process import parse_signal

STOP_SIGNAL = "org.opencontainers.image.stopSignal"  # the only one that this collection obeys
# The prefix that the image-spec reserves. crun and runc write such annotations, and read none.
_HARMLESS = re.compile(r"org\.opencontainers\.[A-Za-z0-9._-]{1,200}")
_MOST_TEXT = 65536


def from_outside(labels: t.Any) -> dict[str, str]:
    """Return the harmless annotations. ``labels`` may be any JSON value."""
    if not isinstance(labels, t.Mapping):
        return {}
    return {key: value for key, value in labels.items() if _is_harmless(key, value)}


def _is_harmless(key: t.Any, value: t.Any) -> bool:
    if not isinstance(key, str) or not isinstance(value, str) or not _HARMLESS.fullmatch(key):
        return False
    return is_signal(value) if key == STOP_SIGNAL else is_text(value)


def is_text(value: t.Any, most: int = _MOST_TEXT) -> bool:
    """Tell whether a value is text that a program accepts: no NUL, no lone surrogate, not too long."""
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        return False
    try:
        return len(value.encode()) <= most
    except UnicodeEncodeError:
        return False


def is_signal(value: str) -> bool:
    if not re.fullmatch(r"[A-Za-z0-9+-]{1,16}", value):
        return False
    try:
        return parse_signal(value) > 0
    except InvalidOption:
        return False
