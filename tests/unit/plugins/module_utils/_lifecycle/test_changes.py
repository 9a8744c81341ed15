# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which launch options differ from those of the record."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import changes
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

RECORD = builders.record(definition=builders.definition(runtime="auto", exit_command=("/x",)), log_path="/log")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, {}),
        # Naming just what was taken is no difference.
        ({"runtime": "runc", "conmon": "/usr/bin/conmon", "cgroup_manager": "cgroupfs"}, {}),
        ({"runtime": "/usr/sbin/runc", "runtime_root": "/run/longshore/runc", "log_path": "/log"}, {}),
        ({"runtime": "crun"}, {"launch.runtime": ("auto", "crun")}),
        ({"conmon": "/opt/conmon"}, {"launch.conmon": (None, "/opt/conmon")}),
        ({"log_path": "/other"}, {"launch.log_path": (None, "/other")}),
        # As in JSON.
        ({"exit_command": ("/x", "y")}, {"launch.exit_command": (["/x"], ["/x", "y"])}),
        ({"conmon_env": {"A": "secret"}}, {"launch.conmon_env": ("(hidden)", "(hidden, new)")}),
    ],
)  # fmt: skip
def test_launch_options(wanted: dict[str, t.Any], found: dict[str, t.Any]) -> None:
    assert changes.definition_changes(RECORD.definition._replace(**wanted), RECORD) == found
