# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give the scopes of a container its stop signal and timeout, for systemd, which stops them in a shutdown. Pure.

A scope keeps the properties with which it was created, so other stop settings do not need a new container.
"""

from __future__ import annotations

import typing as t

from .._state.model import CgroupManager, Record

Config = dict[str, t.Any]
# runc and crun set these properties of the scope.
_TIMEOUT, _SIGNAL = (f"org.systemd.property.{name}" for name in ("TimeoutStopUSec", "KillSignal"))
_BEFORE = "org.systemd.property.Before"
_MOST_SECONDS = 1e12  # microseconds have 64 bits


def applied(config: Config, record: Record) -> Config:
    """Return the config with the stop settings of a record, instead of others."""
    plain = without(config)
    if record.cgroup_manager is not CgroupManager.SYSTEMD:
        return plain
    number = record.stop_signal if record.stop_timeout > 0 else 9
    contract = {_TIMEOUT: f"uint64 {microseconds(record.stop_timeout)}", _SIGNAL: str(number)}
    return {**plain, "annotations": {**(plain.get("annotations") or {}), **contract}}


def after_service(config: Config, unit: str) -> Config:
    """Return the config of a service. In a shutdown, its script sends the stop signal, and systemd stops the scope after that. The
    order is a property of the scope: a unit that names a scope keeps runtimes from creating it again."""
    return {**config, "annotations": {_BEFORE: f"['{unit}']", **(config.get("annotations") or {})}}


def without(config: Config) -> Config:
    """Return the config without stop settings of its scope."""
    annotations = config.get("annotations") or {}
    kept = {name: value for name, value in annotations.items() if name not in (_TIMEOUT, _SIGNAL)}
    if str(kept.get(_BEFORE)).startswith("['longshore"):
        del kept[_BEFORE]
    return config if len(kept) == len(annotations) else {**config, "annotations": kept}


def microseconds(seconds: float) -> int:
    """Return the TimeoutStopUSec of a scope. systemd takes 0 for no limit."""
    return max(1, int(min(seconds, _MOST_SECONDS) * 1_000_000))
