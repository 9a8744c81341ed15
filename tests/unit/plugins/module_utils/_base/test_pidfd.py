# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import pidfd, process
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId


class TestPidFd:
    def test_a_signal_goes_to_the_process_and_the_wait_ends_with_it(self, spawn: t.Any) -> None:
        child = spawn()
        with PidFd(process.identify(child.pid)) as handle:
            assert not handle.wait(Deadline(0))
            handle.send(signal.SIGTERM)
            assert handle.wait(Deadline(30))
        assert child.wait() == -signal.SIGTERM

    def test_nobody_else_gets_the_signal(self, spawn: t.Any) -> None:
        """What is recorded is an earlier process with the same number."""
        child = spawn()
        found = process.identify(child.pid)
        assert found is not None
        with PidFd(found._replace(start=found.start - 1)) as handle:
            assert handle.fd is None
            handle.send(signal.SIGKILL)
            assert handle.wait(Deadline(0))
        assert child.poll() is None
        assert process.is_alive(found)

    def test_of_nobody(self, spawn: t.Any, zombie: ProcessId) -> None:
        child = spawn("true")
        found = ProcessId(child.pid, 1, process.boot_id())
        child.wait()
        for nobody in (None, found, zombie):
            with PidFd(nobody) as handle:
                assert handle.fd is None
                handle.send(signal.SIGKILL)
                assert handle.wait(Deadline(0))

    def test_one_that_exited_just_now_is_what_a_signal_wants(self, spawn: t.Any) -> None:
        child = spawn()
        with PidFd(process.identify(child.pid)) as handle:
            child.kill()
            child.wait()
            handle.send(signal.SIGKILL)
            assert handle.wait(Deadline(0))

    def test_nothing_stays_open(self, spawn: t.Any, open_files: t.Any) -> None:
        found = process.identify(spawn().pid)
        before = open_files()
        for some in (found, ProcessId(found.pid if found else 0, 1, ""), None):
            handle = PidFd(some)
            handle.close()
            handle.close()
        assert open_files() == before


class TestKilling:
    def test_kill_and_wait(self, spawn: t.Any) -> None:
        children = [spawn(), spawn("sh", "-c", "trap '' TERM; sleep 60 & wait")]
        found = [process.identify(child.pid) for child in children]
        assert pidfd.kill_and_wait([some for some in found if some], Deadline(30)) == []
        assert [child.wait() for child in children] == [-signal.SIGKILL] * 2

    @pytest.mark.pure
    def test_nobody(self) -> None:
        assert pidfd.kill_and_wait([], Deadline(0)) == []

    def test_what_is_left_at_the_deadline_is_returned(self, scratch_cgroup: str, spawn: t.Any) -> None:
        """A process in a frozen cgroup of v1 does not die: the nearest to a process that is stuck in the kernel."""
        freezer = "/sys/fs/cgroup/freezer"
        if not os.path.isdir(freezer):
            pytest.skip("needs a v1 freezer: v2 lets SIGKILL through")
        child = spawn()
        found = process.identify(child.pid)
        assert found is not None
        os.mkdir(freezer + scratch_cgroup)
        try:
            for name, text in (("cgroup.procs", str(child.pid)), ("freezer.state", "FROZEN")):
                with open(f"{freezer}{scratch_cgroup}/{name}", "w", encoding="ascii") as stream:
                    stream.write(text)
            assert pidfd.kill_and_wait([found], Deadline(0.05)) == [found]
            assert process.stuck_in(found).startswith("in state D, waiting in ")
        finally:
            with open(f"{freezer}{scratch_cgroup}/freezer.state", "w", encoding="ascii") as stream:
                stream.write("THAWED")
