# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe this machine, as far as a reader of the numbers has to know it."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess

from module_utils._host import cgroup
from module_utils._state.model import Program


def facts(programs: list[Program], podman: bool) -> list[tuple[str, str]]:
    versions = [f"{program.name} {program.version}" for program in programs]
    if podman:
        versions.append(_first_line("podman", "--version").replace(" version", ""))
    return [
        ("date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("machine", f"{os.cpu_count()} x {_processor()}, load {os.getloadavg()[0]:.1f} at the start"),
        ("kernel", f"{platform.system()} {platform.release()} {platform.machine()}, cgroups {cgroup.layout().mode}"),
        ("programs", ", ".join(versions)),
        ("python", platform.python_version()),
    ]


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as stream:
        for line in stream:
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(*argv: str) -> str:
    result = subprocess.run(argv, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    return result.stdout.splitlines()[0]
