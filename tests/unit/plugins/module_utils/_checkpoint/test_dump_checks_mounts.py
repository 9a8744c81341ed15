# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checkpoint that no restore could mount."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import WrongState
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.dump_checks import check_mounts
from ansible_collections.longshore.oci.tests.unit import builders
from ansible_collections.longshore.oci.tests.unit.bind_mounts import bind, container

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


def test_a_source_that_was_replaced(tmp_path: pathlib.Path) -> None:
    for name in ("conf", "other", "new", "place", "place-2"):
        (tmp_path / name).write_text(name)
    mounts = [bind(tmp_path / "conf", tmp_path / "place"), bind(tmp_path / "other", tmp_path / "place-2")]
    with container(*mounts) as pid:
        record = builders.record(init=identify(pid))
        check_mounts({"mounts": mounts}, record)
        check_mounts({}, record)
        (tmp_path / "other").rename(tmp_path / "other~")  # The file is still there, and can be mounted.
        check_mounts({"mounts": mounts}, record)
        (tmp_path / "new").replace(tmp_path / "conf")
        with pytest.raises(WrongState) as refused:
            check_mounts({"mounts": mounts}, record)
    assert refused.value.message == (
        "The container web cannot be checkpointed: the sources of its mounts were replaced or removed on the host since it was created"
        f" ({tmp_path}/place), and a restore would fail."
    )
    check_mounts({"mounts": mounts}, record)
    check_mounts({"mounts": mounts}, builders.record())
