# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._conmon.memory_mark import memory_ran_out
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("place", ["exits", "persist", "bundle", None])
def test_the_places_of_all_conmons(tmp_path: pathlib.Path, place: str | None) -> None:
    paths = Paths("web", state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    if place:
        os.makedirs(getattr(paths, place))
        pathlib.Path(getattr(paths, place), "oom").touch()
    assert memory_ran_out(paths) is (place is not None)
