# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that have ended."""

from __future__ import annotations

import os
import signal
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import process
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline, wait_readable
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId


@pytest.fixture
def zombie(spawn: t.Any) -> ProcessId:
    """Who a process was that has ended and that nobody has reaped."""
    child = spawn()
    found = process.identify(child.pid)
    assert found is not None
    descriptor = os.pidfd_open(child.pid)
    child.send_signal(signal.SIGKILL)
    assert wait_readable([descriptor], Deadline(30))
    os.close(descriptor)
    return ProcessId(*found)
