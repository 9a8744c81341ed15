# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The namespaces in a config.json (``linux.namespaces``): the one place that reads them. Pure.

A list of the wrong shape is refused where a config comes from a bundle or an archive. So a reader need not fail.
"""

from __future__ import annotations

import typing as t

PEER = "container:"  # before the name of a container, instead of a path (shared_namespaces.py)


def namespaces_of(config: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return the paths of the namespaces by type; empty for one that the container gets for itself.

    A type that is missing is shared with the host. Of a type that is there twice the last entry counts.
    """
    return {each["type"]: each.get("path") or "" for each in entries_of(config) if _is_entry(each)}


def entries_of(config: t.Mapping[str, t.Any]) -> list[t.Any]:
    """Return the list as it is; empty where there is none."""
    return found if isinstance(found := (config.get("linux") or {}).get("namespaces"), list) else []


def fault(config: t.Mapping[str, t.Any]) -> str:
    """Return why the namespaces of a config cannot be used, in a few words; empty where nothing is wrong.

    The runtime knows which types there are.
    """
    entries = entries_of(config)
    if (config.get("linux") or {}).get("namespaces") not in (None, entries) or not all(map(_is_entry, entries)):
        return "linux.namespaces must be a list of objects with text for type and path"
    for kind, path in namespaces_of(config).items():
        if [each["type"] for each in entries].count(kind) > 1:  # runc refuses that; crun may make one and join another.
            return f"linux.namespaces has the type {kind[:40]!r} twice"
        if path and not path.startswith(("/", PEER)):  # It would count from where the runtime happens to be.
            return f"linux.namespaces has the path {path[:100]!r}, which is not absolute"
    return ""


def _is_entry(value: t.Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str) and isinstance(value.get("path") or "", str)
