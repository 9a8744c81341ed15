# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stored checkpoints for tests, as far as they can be made without CRIU."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Manifest, Software
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.checkpoint_store import Stored
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition
from ansible_collections.longshore.oci.tests.unit import builders

SPEC = builders.config(root={"path": "/srv/web/rootfs"}, linux={"cgroupsPath": "/longshore/web"})


def manifest(**changes: t.Any) -> Manifest:
    values = {"runtime": Software("runc", "/usr/sbin/runc", "1.1.15"), "definition": Definition("/srv/web")}
    return Manifest(**{"name": "web", **values, **changes})


def whole(**changes: t.Any) -> Stored:
    """One that is nowhere on disk. ``spec`` is its config, all else of its manifest."""
    return Stored(
        changes.pop("path", "/state/1"),
        manifest(**{k: v for k, v in changes.items() if k != "spec"}),
        changes.get("spec", SPEC),
    )


def write(path: object, found: Manifest, spec: t.Mapping[str, t.Any] | None = None) -> str:
    """Write one to disk, with ``spec`` (else SPEC) as its config."""
    os.makedirs(f"{path}/checkpoint")
    texts = {
        "checkpoint/inventory.img": "inventory", "spec.dump": json.dumps(SPEC if spec is None else spec), "config.dump": '{"name": "web"}',
        "longshore.json": json.dumps(found.to_json()),
    }  # fmt: skip
    for name, text in texts.items():
        with open(f"{path}/{name}", "w", encoding="utf-8") as stream:
            stream.write(text)
    return str(path)
