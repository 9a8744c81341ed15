# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._host import selinux_state

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("there", [True, False])
def test_the_file_system_of_selinux_tells(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"/sys/fs/selinux/enforce": there}
    monkeypatch.setattr(os.path, "exists", answers.__getitem__)
    assert selinux_state.has_labels() is there
