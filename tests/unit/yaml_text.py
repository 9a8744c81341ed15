# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse YAML with libyaml where PyYAML has it, which takes a tenth of the time."""

from __future__ import annotations

import typing as t

import yaml  # type: ignore[import-untyped]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(text: str | t.TextIO) -> t.Any:
    return yaml.load(text, Loader=_LOADER)
