# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""linux.seccomp of a config.json, made of a profile as podman and docker write it. Pure.

The default profile is the one that the host's distribution ships for podman (package containers-common, which skopeo
brings along), and not a table in here: the tables of syscalls go with the host's libseccomp, and a fix of one is an update
of that package.
"""

from __future__ import annotations

import typing as t

from .._base.errors import InvalidInput

Profile = t.Mapping[str, t.Any]
DEFAULT_PATHS = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")
_KEPT = ("defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata")
# As seccomp calls what Go calls so.
_ARCHITECTURES = {
    "amd64": "X86_64", "386": "X86", "arm64": "AARCH64", "mips64le": "MIPSEL64", "mipsle": "MIPSEL", "loong64": "LOONGARCH64",
}  # fmt: skip


def resolve(document: Profile, capabilities: t.Collection[str], architecture: str) -> dict[str, t.Any]:
    """With archMap, includes and excludes worked out for a container with these capabilities. A profile as it stands in a
    config.json stays what it is. Raises InvalidInput where it is neither."""
    entries = document.get("syscalls") or []
    if not isinstance(document.get("defaultAction"), str) or not isinstance(entries, list):
        raise InvalidInput("The seccomp profile has no defaultAction, or its syscalls are no list.")
    native = f"SCMP_ARCH_{_ARCHITECTURES.get(architecture, architecture.upper())}"
    arches, rules = {architecture, "x86"} if architecture == "386" else {architecture}, []
    for entry in entries:
        names = entry.get("names") or ([entry["name"]] if entry.get("name") else None)
        if not names or not isinstance(entry.get("action"), str):
            raise InvalidInput("A rule of the seccomp profile has no names or no action.")
        included, excluded = entry.get("includes") or {}, entry.get("excludes") or {}
        # As podman reads them: all capabilities that are included, but any that is excluded.
        if set(included.get("caps") or ()) <= set(capabilities) and arches & set(included.get("arches") or arches):
            if not (set(excluded.get("caps") or ()) & set(capabilities) or arches & set(excluded.get("arches") or ())):
                rule = {"names": list(names), "action": entry["action"]}
                rules.append({**rule, **{key: entry[key] for key in ("errnoRet", "args") if entry.get(key)}})
    profile = {key: document[key] for key in _KEPT if key in document}
    for entry in document.get("archMap") or ():
        if entry.get("architecture") == native:
            profile["architectures"] = [native, *(entry.get("subArchitectures") or ())]
    return {**profile, "syscalls": rules}
