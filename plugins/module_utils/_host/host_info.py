# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect which features work on this host, and why the others do not: conmon, the runtimes, cgroups, and checkpoints."""

from __future__ import annotations

import os
import platform
import typing as t

from .._base.errors import LongshoreError
from .._base.files import read_text, split_lines
from .._base.program import find_program
from .._criu import criu
from .._runtime.drivers import DRIVERS
from .._state.model import CgroupManager, Program
from . import cgroup
from .detect import Host, systemd_runs

Value = t.Any


def survey(host: Host) -> dict[str, Value]:
    """Return all facts as JSON values, and change nothing. An unusable program is not an error but a ``reason``."""
    program, memory = _find_criu()
    return {
        "conmon": _try(lambda: host.conmon(None)),
        "runtimes": [_runtime(host, name, program) for name in DRIVERS],
        "criu": {**(program._asdict() if program else _NO_PROGRAM), "tracks_memory": memory},
        "cgroup": {
            "mode": cgroup.layout().mode,
            "manager": _try(lambda: host.cgroup_manager(CgroupManager.AUTO).value, key="manager"),
            "controllers": sorted(cgroup.controllers(os.geteuid()) or ()),
        },
        "systemd": systemd_runs(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu_features": cpu_features(read_text("/proc/cpuinfo") or ""),
        "root": os.geteuid() == 0,
    }


_NO_PROGRAM: dict[str, Value] = {"name": None, "path": None, "version": None}


def _find_criu() -> tuple[Program | None, bool]:
    try:
        program = criu.find()
        return program, program is not None and os.geteuid() == 0 and criu.tracks_memory(program)
    except LongshoreError:
        return None, False


def _try(probe: t.Callable[[], t.Any], key: str = "") -> dict[str, Value]:
    try:
        found = probe()
        return {**({key: found} if key else found._asdict()), "reason": None}
    except LongshoreError as exc:
        return {**({key: None} if key else _NO_PROGRAM), "reason": str(exc)}


def _runtime(host: Host, name: str, program: Program | None) -> dict[str, Value]:
    """Return the facts about a runtime. An installed runtime may still not support this host's cgroups."""
    found = _try(lambda: host.runtime(name))
    reason = found["reason"]
    runtime = None if reason else Program(found["name"], found["path"], found["version"])
    if runtime is not None:
        try:
            reason = criu.why_not(program, runtime)
        except LongshoreError as exc:
            reason = exc.message
    options = criu.options_of(runtime) if runtime else {"checkpoint": [], "restore": []}
    return {
        **found, "name": name, "path": found["path"] or find_program(name), "works": found["reason"] is None,
        "checkpoint": {"works": reason is None, "reason": reason, "options": options},
    }  # fmt: skip


def cpu_features(cpuinfo: str) -> list[str]:
    """Return the features of the first processor from the text of /proc/cpuinfo. A program that uses one needs it after a
    restore too."""
    for line in split_lines(cpuinfo):
        key, _colon, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return sorted(value.split())
    return []
