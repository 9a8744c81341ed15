# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories in which a test puts together what conmon has written."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths, Store


@pytest.fixture
def exit_paths(tmp_path: pathlib.Path) -> Paths:
    found = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run").paths("web")
    for directory in (found.exits, found.persist, found.bundle):
        os.makedirs(directory)
    return found
