# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe containers as the modules return them."""

from __future__ import annotations

import typing as t

from .._host.service_processes import unit_of
from .._state.model import Observed, Status


def describe(observed: Observed) -> dict[str, t.Any]:
    """Return a container as the modules do, with the same keys for every status."""
    record, end = observed.record, observed.exit
    alive = observed.status in (Status.CREATED, Status.RUNNING, Status.PAUSED, Status.UNKNOWN)
    known = record if record is not None and observed.status is not Status.ABSENT else None
    return {
        "name": observed.name,
        "status": observed.status.value,
        "pid": known.init.pid if known and known.init and alive else None,
        "conmon_pid": known.monitor.pid if known and known.monitor and observed.monitored else None,
        "monitored": observed.monitored,
        "exit_code": end.code if end else None,
        "exit_reason": end.reason if end else None,
        "oom_killed": end.oom if end else False,
        "created_at": known.created_at if known else None,
        "started_at": known.started_at if known and observed.status is not Status.CREATED else None,
        "finished_at": end.finished_at if end else None,
        "bundle": known.definition.bundle if known else None,
        "config_digest": known.config_digest if known else None,
        "runtime": {**known.runtime._asdict(), "root": known.runtime_root} if known else None,
        "cgroup": {"manager": known.cgroup_manager.value, "path": known.cgroup_path, "conmon_path": known.conmon_cgroup_path}
        if known else None,
        "log": {"driver": known.definition.log_driver.value, "path": known.log_path} if known else None,
        "network": {
            "helper": known.definition.network_helper.value, "publish": list(known.definition.publish),
            "pid": known.helper.pid if known.helper and alive and not observed.disconnected else None,
        } if known else None,
        "service": unit_of(known) if known else None,
    }  # fmt: skip
