# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Undo in the config of a launch what shared_namespaces.py has done, for a checkpoint. Pure."""

from __future__ import annotations

import typing as t

from .namespaces import PEER
from .shared_namespaces import changed


def by_name(config: t.Mapping[str, t.Any], directory: str) -> dict[str, t.Any]:
    """Return the config of a launch, whose shared namespaces are in ``directory``, with ``container:NAME`` instead."""

    def change(kind: str, path: str) -> str:
        front = f"{directory}/{kind}/"
        return PEER + path[len(front) :] if path.startswith(front) else path

    return changed(config, change)
