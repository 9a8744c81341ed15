# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of shared namespaces in a config. Pure.

``container:NAME`` instead of a path is an extension of Longshore. No other program accepts it, so none can join a wrong
namespace because of it. The config of a launch has a path in the run directory instead, which leads to the namespace for
exactly this launch.
"""

from __future__ import annotations

import typing as t

from .namespaces import PEER, entries_of


def by_path(config: t.Mapping[str, t.Any], directory: str) -> dict[str, t.Any]:
    """Return a config with paths in ``directory`` instead of ``container:NAME``. Each launch creates these paths."""
    return changed(
        config, lambda kind, path: f"{directory}/{kind}/{path[len(PEER) :]}" if path.startswith(PEER) else path
    )


def changed(config: t.Mapping[str, t.Any], change: t.Callable[[str, str], str]) -> dict[str, t.Any]:
    """Return a config with other paths: ``change`` has the kind of a namespace, and its path."""
    spaces = [
        {**each, "path": change(each.get("type", ""), each["path"])} if each.get("path") else each
        for each in entries_of(config)
    ]
    return {**config, "linux": {**config["linux"], "namespaces": spaces}} if spaces else dict(config)
