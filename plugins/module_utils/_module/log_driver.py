# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve ``log_driver: auto`` in the parameters of oci_container."""

from __future__ import annotations

import typing as t

from .._conmon.log_choice import chosen
from .._state.store import Store


def resolved(store: Store, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the parameters with the log driver that this host chooses."""
    given = {name for name, value in params.items() if value not in (None, False)}
    return {**params, "log_driver": chosen(store, params["name"], given, conmon=params["conmon"])}
