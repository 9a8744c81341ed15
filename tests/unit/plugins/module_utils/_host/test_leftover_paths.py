# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of a container without a record."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._host import leftover_paths
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store

pytestmark = pytest.mark.pure


def test_each_place(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    assert leftover_paths.leftovers(store, "web") == []
    paths = store.paths("web")
    places = [
        paths.state,
        paths.run,
        f"{store.run_dir}/crun/web",
        f"{store.run_dir}/runc/web",
        f"{store.run_dir}/youki/web",
    ]
    for place in places:
        os.makedirs(place)
    # A link that leads nowhere is in the way too.
    os.rmdir(paths.state)
    os.symlink("/nowhere", paths.state)
    os.makedirs(f"{store.run_dir}/crun/other")
    known = {"/opt/youki 1 2 3 name": "youki"}
    pathlib.Path(store.run_dir, "programs.json").write_text(json.dumps(known), encoding="ascii")
    assert sorted(leftover_paths.leftovers(store, "web")) == sorted(places)
