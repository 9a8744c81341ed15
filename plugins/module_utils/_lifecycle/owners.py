# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the owner of a container: the one place that decides by ``service``. The side that is not chosen is not compiled."""

from __future__ import annotations

import typing as t

from .._state.model import Definition

if t.TYPE_CHECKING:
    from .._container.owner import Owner


def owner_of(definition: Definition | None, *, has_unit: bool = False) -> Owner:
    """Return the owner. ``has_unit``: systemd has a unit of the container, whatever a record says."""
    if has_unit or (definition and definition.service):
        from .._service import owner_systemd

        return owner_systemd
    from . import owner_conmon

    return owner_conmon
