# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import files
from ansible_collections.longshore.oci.plugins.module_utils._trust import tree_walk
from ansible_collections.longshore.oci.tests.unit.deep import deepen

DEPTH = 3000


class TestWalk:
    @pytest.mark.pure
    def test_all_of_it_in_order(self, top: pathlib.Path) -> None:
        (top / "b/c").mkdir(parents=True)
        (top / "b/a").write_text("")
        (top / "a").symlink_to("b")
        (top / "b.c").write_text("")
        assert [entry.path for entry in tree_walk.walk(str(top))] == ["a", "b", "b/a", "b/c", "b.c"]

    @pytest.mark.parametrize(("depth", "name"), [(DEPTH, "d"), (40, "n" * 255)])
    def test_any_depth_and_length(self, top: pathlib.Path, depth: int, name: str) -> None:
        deepen(top, depth, name)
        seen = 0
        for entry in tree_walk.walk(str(top)):
            seen += 1
            assert os.path.samestat(os.lstat(entry.at), entry.status)
        assert seen == depth + 1
        assert entry.path == "/".join([*[name] * depth, "file"])
        files.remove_tree(str(top))
