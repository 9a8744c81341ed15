# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import subprocess
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import files
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, identify, is_alive
from ansible_collections.longshore.oci.plugins.module_utils._conmon.exit_files import EXIT_FILE_SECONDS
from ansible_collections.longshore.oci.plugins.module_utils._exec import session_end, session_store
from ansible_collections.longshore.oci.plugins.module_utils._exec.session_store import SessionPaths
from ansible_collections.longshore.oci.plugins.module_utils._state import conmon_processes
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import exec_session
from ansible_collections.longshore.oci.tests.unit.exec_session import container

__all__ = ["container"]  # the fixture


@pytest.mark.impure
class TestLaunchOfAKilledTask:
    """Its pid file names a process that nobody has looked at yet. crun 1.21 hides that one from other users than root until it is
    done itself."""

    def _launched(self, container: Paths, spawn: t.Any) -> tuple[SessionPaths, ProcessId]:
        paths = exec_session.kept(container, detached=False, pid=None)
        # As long as it is the runtime's own, it has that one's command line. It has no child, which would have it too for a moment.
        child = spawn("sh", "-c", "kill -STOP $$", "conmon", "--container-pidfile", paths.pidfile)
        pathlib.Path(paths.pidfile).write_text(str(child.pid))
        return paths, t.cast(ProcessId, identify(child.pid))

    def test_it_is_ended_when_the_runtime_is_done(
        self, container: Paths, spawn: t.Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths, process = self._launched(container, spawn)
        # With a second command, or the shell would become the first, which does not have these words.
        runtime = spawn("sh", "-c", "sleep 0.5; true", "runc", "--pid-file", paths.pidfile)
        record = exec_session.RECORD.replace(
            runtime=exec_session.RECORD.runtime._replace(path="sh"), init=exec_session.myself()
        )

        def readlink(path: str) -> str:
            if runtime.poll() is None:
                raise PermissionError
            return original(path)

        original = os.readlink
        monkeypatch.setattr(os, "readlink", readlink)
        before = time.monotonic()
        session_end.clear_away(paths, record, grace=0, kill=5)
        assert time.monotonic() - before < EXIT_FILE_SECONDS - 1
        assert not is_alive(process)
        assert not os.path.exists(paths.bundle)

    def test_a_conmon_that_was_not_there_yet(
        self, container: Paths, spawn: t.Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It writes while its directory is removed, and is found by then."""
        paths, process = self._launched(container, spawn)
        pathlib.Path(paths.pidfile).unlink()
        looks: list[str] = []

        def find(*arguments: t.Any) -> list[ProcessId]:
            looks.append("found")
            return original(*arguments) if "removed" in looks else []

        def remove(path: str) -> None:
            looks.append("removed")
            if looks.count("removed") == 1:
                raise LongshoreError("Directory not empty")
            files.remove_tree(path)

        original = conmon_processes.find_conmons
        monkeypatch.setattr(session_end, "find_conmons", find)
        monkeypatch.setattr(session_store, "remove_tree", remove)
        monkeypatch.setattr(session_end, "EXIT_FILE_SECONDS", 0.2)
        session_end.clear_away(paths, exec_session.RECORD.replace(init=exec_session.myself()), grace=0, kill=5)
        assert not is_alive(process)
        assert not os.path.exists(paths.bundle)

    def test_one_that_stays_hidden_is_not_forgotten(
        self, container: Paths, spawn: t.Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths, process = self._launched(container, spawn)

        def readlink(path: str) -> str:
            raise PermissionError(path)

        with monkeypatch.context() as context:
            context.setattr(os, "readlink", readlink)
            session_end.clear_away(paths, exec_session.RECORD.replace(init=exec_session.myself()), grace=0, kill=5)
        assert is_alive(process)
        assert session_store.load(paths) is not None
        session_end.clear_away(paths, exec_session.RECORD.replace(init=exec_session.myself()), grace=0, kill=5)
        assert not is_alive(process)


@pytest.mark.impure
class TestFamilies:
    """Real processes; the shell is the leader of a session, as what a runtime starts is."""

    def _start(self, spawn: t.Any, text: str) -> ProcessId:
        read, write = os.pipe()
        os.set_inheritable(write, True)
        child: subprocess.Popen[bytes] = spawn(
            "sh", "-c", text.replace("ready", f"echo >/proc/{os.getpid()}/fd/{write}")
        )
        os.read(read, 1)
        os.close(read)
        os.close(write)
        return t.cast(ProcessId, identify(child.pid))

    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("ready; exec sleep 60", 1),
            ("sleep 60 & sleep 60 & ready; wait", 3),
            ("(sleep 60 & sleep 60 & wait) & ready; wait", None),
            # Another process group, another session, a parent that is gone.
            ("setsid sh -c 'sleep 60 & wait' & ready; wait", None),
            ("(sleep 60 &); ready; exec sleep 60", 2),
        ],
    )
    def test_all_of_it_ends(self, spawn: t.Any, text: str, size: int | None) -> None:
        leader = self._start(spawn, text)
        found = session_end.family(leader)
        assert leader in found
        assert len(found) == size if size else len(found) > 1
        assert os.getpid() not in {process.pid for process in found}
        assert session_end.end_families([leader], grace=30, kill=30) == []
        assert not any(map(is_alive, found))

    def test_what_a_leader_that_is_gone_has_left(self, spawn: t.Any) -> None:
        leader = self._start(spawn, "sleep 60 & ready; sleep 0.2")
        with PidFd(leader) as handle:
            assert handle.wait(Deadline(30))
        child = next(process for process in session_end.family(leader) if process != leader)
        assert session_end.end_families([leader], grace=30, kill=30) == []
        assert not is_alive(child)

    def test_what_ignores_term(self, spawn: t.Any) -> None:
        leader = self._start(spawn, "trap '' TERM; sleep 60 & ready; wait")
        assert session_end.end_families([leader], grace=0.05, kill=30) == []

    def test_no_grace(self, spawn: t.Any, tmp_path: pathlib.Path) -> None:
        leader = self._start(spawn, f"trap 'touch {tmp_path}/asked; exit' TERM; ready; while :; do sleep 0.01; done")
        assert session_end.end_families([leader], grace=0, kill=30) == []
        assert list(tmp_path.iterdir()) == []

    def test_somebody_else_with_its_number(self, spawn: t.Any) -> None:
        leader = self._start(spawn, "ready; exec sleep 60")
        assert session_end.family(leader._replace(start=leader.start - 1)) == []
        assert session_end.family(leader._replace(boot="another")) == []
        assert session_end.end_families([], grace=30, kill=30) == []
        assert is_alive(leader)
