# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors
"""Print, as JSON, where the parts of the engine are on this host; null for a part that is missing.

Arguments: the names of the parts. Each is a program, except Python libraries, libcriu and seccomp.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import shutil
import site
import sys

# A module of the library is named, for a namespace package of the same name can be anybody's directory.
LIBRARIES = {"psutil": "psutil._common", "pyroute2": "pyroute2.netlink", "systemd": "systemd.journal"}
# The PATH of a session without a login often has no sbin, and podman's packages put conmon into libexec.
PLACES = (
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ":/usr/libexec/podman:/usr/local/libexec/podman:/usr/local/lib/podman:/run/current-system/sw/bin"
)
# Podman's default seccomp profile (containers.conf(5)).
PROFILES = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")


def library(module: str) -> str | None:
    with contextlib.suppress(ImportError):
        found = importlib.util.find_spec(module)
        if found:
            return found.origin
    # "python -I" leaves out what a user has installed alone, which the modules of Ansible import. Nothing of that is
    # imported here: as root it may belong to another user, where sudo keeps HOME.
    own = os.path.join(site.getusersitepackages(), *module.split("."))
    return next(filter(os.path.isfile, (f"{own}.py", f"{own}/__init__.py")), None)


def shared_object(name: str) -> str | None:
    try:
        ctypes.CDLL(name)
    except OSError:
        return None
    return name


def locate(part: str) -> str | None:
    if part in LIBRARIES:
        return library(LIBRARIES[part])
    if part == "seccomp":
        return next(filter(os.path.exists, PROFILES), None)
    if part == "libcriu":
        return shared_object("libcriu.so.2")
    # A relative entry means the directory of the task, which can be anybody's.
    places = [place for place in f"{os.environ.get('PATH', '')}:{PLACES}".split(":") if place.startswith("/")]
    return shutil.which(part, path=":".join(places))


print(json.dumps({part: locate(part) for part in sys.argv[1:]}))
