# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptors for a session: the runtime is told how many there are, and the rest is that of a launch."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._conmon.fd_mapping import arrange
from ansible_collections.longshore.oci.plugins.module_utils._exec.preserved_files import Descriptors

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("numbers", [(), (7,), (7, 5)])
def test_the_command_line(numbers: tuple[int, ...]) -> None:
    runtime = ["--runtime-opt=--preserve-fds", f"--runtime-opt={len(numbers)}"]
    assert Descriptors(*numbers).arrange(["/conmon", "--x"]) == arrange(["/conmon", "--x", *runtime], numbers)
