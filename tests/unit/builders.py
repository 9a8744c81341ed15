# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values for tests: complete and valid, apart from what a test wants otherwise."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    CgroupManager,
    Definition,
    Observed,
    Program,
    Record,
    Status,
)
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase

_FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures")


def transcript(program: str, version: str, name: str) -> str:
    """What a program really said, see fixtures/README.md."""
    with open(os.path.join(_FIXTURES, program, version, name), encoding="utf-8") as stream:
        return stream.read()


def definition(**changes: t.Any) -> Definition:
    return Definition.from_json({"bundle": "/srv/web", **changes})


def record(**changes: t.Any) -> Record:
    values: dict[str, t.Any] = {
        "name": "web",
        "phase": Phase.RUNNING,
        "definition": definition(),
        "config_digest": "sha256:0",
        "runtime": Program("runc", "/usr/sbin/runc", "1.1.5"),
        "runtime_root": "/run/longshore/runc",
        "conmon": Program("conmon", "/usr/bin/conmon", "2.1.6"),
        "cgroup_manager": "cgroupfs",
        "boot": "00000000-0000-0000-0000-000000000000",
    }
    values.update(changes)
    typed = {"phase": Phase(values["phase"]), "cgroup_manager": CgroupManager(values["cgroup_manager"])}
    return Record(**{**values, **typed})


def observed(status: Status, *, phase: str = "running", **changes: t.Any) -> Observed:
    """With a record wherever a status other than absent cannot be had without one."""
    known = None if status is Status.ABSENT else record(phase=phase)
    monitored = status in (Status.CREATED, Status.RUNNING, Status.PAUSED)
    values = {"name": "web", "status": status, "record": known, "unready": phase == "starting", "monitored": monitored}
    return Observed(**{**values, **changes})


def config(**changes: t.Any) -> dict[str, t.Any]:
    """A config.json, the smallest that is valid."""
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {"args": ["sleep", "60"], "cwd": "/", "env": ["PATH=/usr/bin:/bin"]},
        **changes,
    }
