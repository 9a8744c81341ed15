# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a container ended, from the files that conmon leaves."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._conmon import exit_files
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("name", ["exit", "web"])
@pytest.mark.parametrize("place", ["exits", "persist"])
@pytest.mark.parametrize("text", ["0", "137\n", "-1"])
def test_the_file_with_the_code(exit_paths: Paths, place: str, name: str, text: str) -> None:
    path = f"{getattr(exit_paths, place)}/{name}"
    pathlib.Path(path).write_text(text, encoding="ascii")
    assert exit_files.exit_file(builders.record(), exit_paths) == path


def test_a_full_file_system_leaves_files_that_say_nothing(exit_paths: Paths) -> None:
    for text in ("", "x", "-"):
        pathlib.Path(exit_paths.exits, "web").write_text(text, encoding="ascii")
        assert exit_files.exit_file(builders.record(), exit_paths) is None
    pathlib.Path(exit_paths.persist, "exit").write_text("4", encoding="ascii")
    assert exit_files.exit_file(builders.record(), exit_paths) == f"{exit_paths.persist}/exit"
