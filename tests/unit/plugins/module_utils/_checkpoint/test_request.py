# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Software
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.plan import Goal
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.request import Request, describe
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.restore import Wanted
from ansible_collections.longshore.oci.plugins.module_utils._criu.criu import Options
from ansible_collections.longshore.oci.tests.unit import stored

pytestmark = pytest.mark.pure


def test_the_target() -> None:
    assert Request("web", Goal.RESTORED).target == "web"
    assert Request("web", Goal.RESTORED, wanted=Wanted("there")).target == "there"


@pytest.mark.parametrize(
    ("archive", "exists", "of_archive", "found"),
    [
        (False, False, False, ("/state/1", False, 7)), (True, True, False, ("/state/1", True, 3)), (True, False, False, ("/state/1", False, 7)),
        (True, True, True, (None, True, 3)), (True, False, True, (None, True, 7)),
    ],
)  # fmt: skip
def test_a_description(
    tmp_path: pathlib.Path, archive: bool, exists: bool, of_archive: bool, found: tuple[str | None, bool, int]
) -> None:
    """(whether an archive is asked for, is there, is where the checkpoint came from)"""
    path = f"{tmp_path}/x.tar" if archive else None
    if exists:
        (tmp_path / "x.tar").write_text("abc")
    whole = stored.whole(size=7, digest="sha256:1", criu=Software("criu", "/c", "4.1"), options=Options(pre_dump=True))
    described = describe(whole, path, of_archive=of_archive)
    assert (described.path, described.archive, described.size) == (found[0], path if found[1] else None, found[2])
    assert (described.criu, described.runtime.version, described.options) == ("4.1", "1.1.15", Options(pre_dump=True))


def test_one_of_which_little_is_known() -> None:
    described = describe(stored.whole(criu=None, runtime=Software()), None)
    assert (described.criu, described.runtime, described.digest, described.rootfs) == (None, Software(), None, None)
