# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why CRIU failed, from lines of its log."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._runtime import criu_log

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ([], ""),
        (["(00.000001) Version: 4.1", "(00.000002) Warn  (criu/a.c:1): odd"], ""),
        (["(00.001234)      1: Error (criu/files.c:12): Can't open x."], "Can't open x"),
        (["(00.001234) Error (criu/files.c:12): one", "Error (criu/b.c:3): two"], "one; two"),
        # The same one of several processes, and the last three.
        (["(00.1) Error (a.c:1): one", "(00.2) Error (a.c:1): two", "(00.3) Error (a.c:1): two",
          "(00.4) Error (a.c:1): three", "(00.5) Error (a.c:1): four"], "two; three; four"),
        # Also logged by one that succeeds, or of no use.
        (["(00.1) Error (criu/cr-dump.c:2): Dumping FAILED.", "(00.2) Error (a.c:1): rlimit: no"], ""),
        (["(00.1)      1: Error (criu/mount-v2.c:396): mnt-v2: Can't re-create deleted file /a: File exists",
          "(00.2) Error (criu/mount.c:3635): mnt: Can't remove the directory /tmp/.criu.mntns.R8IPwU: Device or resource busy",
          "(00.3) Error (criu/cgroup.c:1998): cg: cgroupd: recv req error: No such file or directory",
          "(00.4) Error (criu/cr-restore.c:2324): Restoring FAILED."], "mnt-v2: Can't re-create deleted file /a: File exists"),
    ],
)  # fmt: skip
def test_the_reason(log: list[str], reason: str) -> None:
    assert criu_log.criu_error(log) == reason
