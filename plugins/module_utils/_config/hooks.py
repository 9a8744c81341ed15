# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the hooks of the runtime, which are programs of the host in a config.json, and give each an environment.

runc gives a hook without ``env`` the environment of the container, which the image controls: its LD_PRELOAD would run in a
program of the host, before the root file system is mounted (CVE-2025-23266). So every hook gets an ``env``.
"""

from __future__ import annotations

import os
import typing as t

from .._base.errors import InvalidOption
from .._base.program import SEARCH_PATH
from .._state.model import NetworkHelper, Record
from .._state.store import Paths

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# Runs in the namespaces of a new container, before its root file system is mounted. It writes its pid on the host, and
# waits (network_helper.py). It uses only builtins of the shell, so it searches no program there.
_HOOK = 'read -r pid _ </proc/self/stat && echo "$pid" >"$1" && read -r _ <"$2"'


def checked(value: t.Any) -> dict[str, list[dict[str, t.Any]]]:
    """Return the hooks of a config.json, each with an ``env``. Raises InvalidOption for hooks that the runtime-spec does not
    allow."""
    if not isinstance(value, dict):
        raise InvalidOption("hooks must be an object with a list of hooks for each kind.")
    for kind, entries in value.items():
        if kind not in KINDS:
            raise InvalidOption(f"hooks: {kind} must be one of {', '.join(KINDS)}.")
        if not isinstance(entries or [], list):
            raise InvalidOption(f"hooks: {kind} must be a list.")
        for entry in entries or []:
            _check(kind, entry)
    return {kind: [_with_environment(entry) for entry in entries or []] for kind, entries in value.items()}


def _check(kind: str, entry: t.Any) -> None:
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise InvalidOption(f"hooks: each of {kind} must be an object with the absolute path of a program.")
    for name in ("args", "env"):
        words = entry.get(name)
        if words is not None and not (
            isinstance(words, list) and all(isinstance(w, str) and "\0" not in w for w in words)
        ):
            raise InvalidOption(f"hooks: {name} of {path} ({kind}) must be a list of strings.")
    seconds = entry.get("timeout")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int) or seconds <= 0):
        raise InvalidOption(f"hooks: the timeout of {path} ({kind}) must be a positive whole number of seconds.")


def _with_environment(entry: dict[str, t.Any]) -> dict[str, t.Any]:
    # Also for an empty one: runtimes treat an empty environment as absent.
    return entry if entry.get("env") else {**entry, "env": [f"PATH={SEARCH_PATH}"]}


def effective(value: t.Any, record: Record, paths: Paths) -> dict[str, list[dict[str, t.Any]]]:
    """Return the hooks of a config, with Longshore's own hook only if this definition needs it for the network helper."""
    hooks = checked(value or {})
    others = [hook for hook in hooks.get("createContainer") or [] if _HOOK not in (hook.get("args") or [])]
    if record.definition.network_helper is not NetworkHelper.NONE and os.geteuid() != 0:
        arguments = ["sh", "-c", _HOOK, "sh", paths.network_asks, paths.network_answer]
        others.append(_with_environment({"path": "/bin/sh", "args": arguments}))
    return {**hooks, "createContainer": others} if others or "createContainer" in hooks else hooks
