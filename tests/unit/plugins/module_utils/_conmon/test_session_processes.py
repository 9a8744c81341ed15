# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import typing as t

from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, identify
from ansible_collections.longshore.oci.plugins.module_utils._conmon import session_processes


class TestGroups:
    def test_the_group_of_a_leader(self, spawn: t.Any) -> None:
        child = spawn("sh", "-c", "sleep 60 & sleep 60")
        found = session_processes.process_group(t.cast(ProcessId, identify(child.pid)))
        assert child.pid in [process.pid for process in found]
        assert {os.getpgid(process.pid) for process in found} == {child.pid}

    def test_a_number_that_is_of_another_by_now(self, spawn: t.Any) -> None:
        """The group of that number is another's too."""
        leader = t.cast(ProcessId, identify(spawn().pid))
        assert session_processes.process_group(leader._replace(start=leader.start - 1)) == []
