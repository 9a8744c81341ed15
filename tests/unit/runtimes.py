# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runtimes that are neither crun nor runc, and such as are one of them under another name. The runc of this host does the work."""

from __future__ import annotations

import json
import os
import shutil
import typing as t

from ansible_collections.longshore.oci.plugins.module_utils._base.program import find_program
from ansible_collections.longshore.oci.tests.unit import programs

_COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_SOURCE = f"{_COLLECTION}/tests/integration/targets/setup_bundle/files/other_runtime.py"
VERSIONS = {
    "youki": "youki version: 0.5.7\ncommit: 0.5.7-0\nspec: 1.2.0",
    "runsc": "runsc version release-20241217.0\nspec: 1.1.0",
}


def runc() -> str:
    found = find_program("runc")
    assert found is not None
    return found


def other(directory: object, kind: str = "youki", *, name: str | None = None) -> str:
    """A program that behaves as another runtime does; see there."""
    with open(_SOURCE, encoding="utf-8") as stream:
        text = stream.read()
    path = programs.python(f"{directory}/{name or kind}", text)
    answer(path, real=runc(), kind=kind, version=VERSIONS[kind], state=kind)
    return path


def answer(path: str, **changes: str) -> None:
    """Let it answer in another way from now on."""
    known: dict[str, t.Any] = {}
    if os.path.exists(f"{path}.json"):
        with open(f"{path}.json", encoding="utf-8") as stream:
            known = json.load(stream)
    with open(f"{path}.json", "w", encoding="utf-8") as stream:
        json.dump({**known, **changes}, stream)


def wrapper(directory: object, name: str = "containers-run") -> str:
    """A script that is runc in truth."""
    return programs.script(f"{directory}/{name}", f'exec {runc()} "$@"')


def renamed(directory: object, name: str = "crun") -> str:
    """runc by a name that says something else."""
    return shutil.copy(runc(), f"{directory}/{name}")
