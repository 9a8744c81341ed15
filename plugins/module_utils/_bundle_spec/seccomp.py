# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create linux.seccomp of a config.json from a profile in the format of podman and docker. Pure.

The default profile is the one of the host's distribution for podman (package containers-common, a dependency of skopeo), not a
table in this file: the lists of syscalls must fit the host's libseccomp, and an update of that package fixes them.
"""

from __future__ import annotations

import typing as t

from .._base.errors import InvalidOption

Profile = t.Mapping[str, t.Any]
DEFAULT_PATHS = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")
_KEPT = ("defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata")
# The architectures of seccomp, by their names in Go.
_ARCHITECTURES = {
    "amd64": "X86_64", "386": "X86", "arm64": "AARCH64", "mips64le": "MIPSEL64", "mipsle": "MIPSEL", "loong64": "LOONGARCH64",
}  # fmt: skip


def resolve(document: Profile, capabilities: t.Collection[str], architecture: str) -> dict[str, t.Any]:
    """Resolve archMap, includes and excludes for a container with these capabilities. A profile in the format of config.json
    stays as it is. Raises InvalidOption for any other document."""
    entries = document.get("syscalls") or []
    if not isinstance(document.get("defaultAction"), str) or not isinstance(entries, list):
        raise InvalidOption("The seccomp profile has no defaultAction, or its syscalls are not a list.")
    native = f"SCMP_ARCH_{_ARCHITECTURES.get(architecture, architecture.upper())}"
    arches, rules = {architecture, "x86"} if architecture == "386" else {architecture}, []
    for entry in entries:
        names = entry.get("names") or ([entry["name"]] if entry.get("name") else None)
        if not names or not isinstance(entry.get("action"), str):
            raise InvalidOption("A rule of the seccomp profile has no names or no action.")
        included, excluded = entry.get("includes") or {}, entry.get("excludes") or {}
        # As in podman: all included capabilities are required, and one excluded capability is enough to exclude.
        if set(included.get("caps") or ()) <= set(capabilities) and arches & set(included.get("arches") or arches):
            if not (set(excluded.get("caps") or ()) & set(capabilities) or arches & set(excluded.get("arches") or ())):
                rule = {"names": list(names), "action": entry["action"]}
                rules.append({**rule, **{key: entry[key] for key in ("errnoRet", "args") if entry.get(key)}})
    profile = {key: document[key] for key in _KEPT if key in document}
    for entry in document.get("archMap") or ():
        if entry.get("architecture") == native:
            profile["architectures"] = [native, *(entry.get("subArchitectures") or ())]
    return {**profile, "syscalls": rules}
