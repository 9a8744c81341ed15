# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse what a newer release has written, rather than misread it."""

from __future__ import annotations

import typing as t

from .._base.errors import LongshoreError
from .model import CHOICES, RECORD_FORMAT
from .phase import PHASES


def check_record(name: str, value: t.Mapping[str, t.Any]) -> None:
    """Raise LongshoreError for a record whose format, phase or choice of an option this release does not know. A record without
    them is damaged."""
    number, phase, said = value.get("format"), value.get("phase"), ""
    definition = value.get("definition")
    given = [
        *(definition.items() if isinstance(definition, dict) else ()),
        ("cgroup_manager", value.get("cgroup_manager")),
    ]
    unknown = [
        (name, word) for name, word in given if isinstance(word, str) and word not in tuple(CHOICES.get(name, (word,)))
    ]
    if number != RECORD_FORMAT:
        said = f"has the format {number}, but this release supports {RECORD_FORMAT}"
    elif isinstance(phase, str) and phase not in PHASES:
        said = f"has the phase {phase!r}, which this release does not know"
    elif unknown:
        said = f"has the {unknown[0][0]} {unknown[0][1]!r}, which this release does not know"
    if said:
        hint = "Use the newer release of longshore.oci that created it."
        raise LongshoreError(f"The record of the container {name} {said}.", hint=hint)
