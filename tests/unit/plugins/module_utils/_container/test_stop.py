# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stop contract, on real processes that only the record calls a container."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict
from ansible_collections.longshore.oci.plugins.module_utils._base.files import make_directory
from ansible_collections.longshore.oci.plugins.module_utils._base.process import boot_id, identify, is_alive
from ansible_collections.longshore.oci.plugins.module_utils._container import stop
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._state.lock import Lock
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Record, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


@pytest.fixture
def lock(store: Store) -> t.Iterator[Lock]:
    lock = Lock(store.paths("web").lock, "web")
    lock.acquire(Deadline(0))
    yield lock
    lock.release()


class Container:
    """A shell in a cgroup of its own, with a record."""

    def __init__(self, store: Store, spawn: t.Any, path: str) -> None:
        self.store, self._spawn, self.path = store, spawn, path

    def run(self, text: str = "exec sleep 60", **changes: t.Any) -> Record:
        """Only back when the shell is as far as its line ``ready``, if it has one."""
        read, write = os.pipe()
        os.set_inheritable(write, True)
        child = self._spawn("sh", "-c", text.replace("ready", f"echo >/proc/{os.getpid()}/fd/{write}"))
        os.close(write) if "ready" not in text else os.read(read, 1)
        os.close(read)
        cgroup.place(self.path, child.pid)
        record = builders.record(
            **{
                "init": identify(child.pid),
                "cgroup_path": self.path,
                "created_at": "then",
                "boot": boot_id(),
                **changes,
            }
        )
        make_directory(self.store.paths("web").state)
        self.store.save(record)
        if "ready" in text:
            os.close(write)
        return record


@pytest.fixture
def container(store: Store, spawn: t.Any, scratch_cgroup: str) -> t.Iterator[Container]:
    yield Container(store, spawn, scratch_cgroup)
    cgroup_removal.kill(scratch_cgroup, Deadline(30))


IGNORES_TERM = "trap '' TERM; ready; while :; do sleep 60; done"


class TestStop:
    def _stop(self, store: Store, lock: Lock, record: Record, *, number: int = 15, **seconds: float) -> t.Any:
        return stop.stop(store, lock, record, number=number, timeouts=Timeouts(**seconds))

    def test_a_signal_is_enough(self, store: Store, lock: Lock, container: Container) -> None:
        record = container.run()
        report, now = self._stop(store, lock, record, stop=30)
        assert (report.signal, report.killed) == ("TERM", False)
        assert now == store.load("web") == record._replace(phase=Phase.STOPPED)
        assert not is_alive(record.init)

    def test_kill_is_the_last_resort(self, store: Store, lock: Lock, container: Container) -> None:
        record = container.run(IGNORES_TERM)
        report, _now = self._stop(store, lock, record, stop=0.1)
        assert (report.signal, report.killed) == ("TERM", True)
        assert report.waited >= 0.1
        assert cgroup_removal.members(container.path) == []

    def test_no_grace_is_kill_at_once(self, store: Store, lock: Lock, container: Container) -> None:
        record = container.run()
        report, _now = self._stop(store, lock, record, stop=0)
        assert (report.signal, report.killed) == ("KILL", True)

    def test_the_grace_is_as_recorded_unless_it_is_given(self, store: Store, lock: Lock, container: Container) -> None:
        record = container.run(IGNORES_TERM, stop_timeout=0.0)
        report, _now = self._stop(store, lock, record)
        assert report.signal == "KILL"

    def test_what_is_left_in_the_cgroup_goes_too(self, store: Store, lock: Lock, container: Container) -> None:
        """Without a pid namespace of its own the end of the first process ends no other."""
        record = container.run("sleep 60 & ready; wait")
        report, _now = self._stop(store, lock, record, stop=30)
        assert report.killed is False
        assert cgroup_removal.members(container.path) == []

    def test_one_that_is_gone_already(self, store: Store, lock: Lock, container: Container) -> None:
        record = container.run()
        assert cgroup_removal.kill(container.path, Deadline(30)) == []
        report, now = self._stop(store, lock, record, stop=30)
        assert (report.signal, report.killed) == ("TERM", False)
        assert now is not None

    def test_another_process_with_the_same_number_is_not_touched(
        self, store: Store, lock: Lock, container: Container
    ) -> None:
        alive = container.run().init
        assert alive is not None
        record = builders.record(init=alive._replace(start=alive.start - 1), cgroup_path=None, created_at="then")
        store.save(record)
        report, _now = self._stop(store, lock, record, stop=30)
        assert report.killed is False
        assert is_alive(alive)

    @pytest.mark.parametrize(
        "change", [{"created_at": "later"}, {"phase": Phase.REMOVED}, {"phase": Phase.CHECKPOINTED}, None]
    )
    def test_what_somebody_else_made_meanwhile_is_not_touched(
        self, store: Store, lock: Lock, container: Container, change: t.Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = container.run(IGNORES_TERM)
        really = lock.release

        def release() -> None:
            really()
            store.save(record._replace(**change)) if change else store.forget("web")

        monkeypatch.setattr(lock, "release", release)
        _report, now = self._stop(store, lock, record, stop=0.1)
        assert now is None
        assert is_alive(record.init)
        monkeypatch.undo()

    def test_the_lock_is_free_while_the_container_takes_its_time(
        self, store: Store, lock: Lock, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[t.Any] = []
        really = lock.acquire

        def acquire(deadline: Deadline) -> None:
            with store.locked("web", Deadline(0)):
                seen.append(store.load("web"))
            really(deadline)

        monkeypatch.setattr(lock, "acquire", acquire)
        record = container.run()
        self._stop(store, lock, record, stop=30)
        # Whoever got it would have seen what is going on, and would finish it if we died.
        assert [found.phase for found in seen] == ["stopping"]
        with pytest.raises(Conflict):
            Lock(store.paths("web").lock, "web").acquire(Deadline(0))
