# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identify what a task asks for, without what only the host decides. Pure.

The default seccomp profile, the capabilities of the kernel, the numbers of devices and the like differ after an update of packages or a
reboot. A bundle keeps its root file system then: its name comes from this digest.
"""

from __future__ import annotations

import hashlib
import json

from .._base.accounts import User
from .._base.capabilities import CAPABILITIES
from .._config import config, config_differences
from . import parse, spec
from .image_document import ImageConfig
from .options import Facts, Options
from .seccomp import DEFAULT_PATHS


def digest(image: ImageConfig, options: Options, facts: Facts, user: User, path: str) -> str:
    """Return the digest of the config that a host with everything would have, and of what is named there only by facts."""
    profile = facts.seccomp
    if profile is not None and options.seccomp in ("default", *DEFAULT_PATHS):
        profile = {"defaultAction": "of the host"}
    same = facts._replace(
        capabilities=CAPABILITIES, cgroup2=True, devices=(), resolv_conf="/etc/resolv.conf", most={}, pids=True, swap=True,
        recursive=True, apparmor=options.apparmor_profile, seccomp=profile,
    )  # fmt: skip
    devices = sorted({":".join(parse.device(value)) for value in options.devices})
    named = [config.digest(spec.make(image, options, same, user, path)), devices]
    return f"sha256:{hashlib.sha256(json.dumps(named).encode()).hexdigest()}"


def notes(facts: Facts, wanted: str) -> dict[str, str]:
    """Return the annotations by which the engine knows what is ``wanted``, and finds the devices at each launch."""
    devices = {config.DEVICES: json.dumps(facts.device_sources, sort_keys=True)} if facts.device_sources else {}
    return {config_differences.ASKED: wanted, **devices}
