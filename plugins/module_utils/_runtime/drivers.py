# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtimes that have a driver, in the order of preference."""

from __future__ import annotations

from . import runtime_crun, runtime_runc
from .driver import Driver

DRIVERS = {each.name: each for each in (runtime_crun.DRIVER, runtime_runc.DRIVER)}


def driver_of(name: str) -> Driver:
    """Return the driver of a runtime by what the program calls itself, else the careful one."""
    return DRIVERS.get(name) or Driver(name)
