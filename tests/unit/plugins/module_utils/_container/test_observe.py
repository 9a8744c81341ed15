# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import signal
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, boot_id, identify
from ansible_collections.longshore.oci.plugins.module_utils._conmon import exit_wait
from ansible_collections.longshore.oci.plugins.module_utils._container import observe
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal, leftover_paths
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Checkpoint,
    Exit,
    Observed,
    Record,
    Status,
)
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders


class Host:
    """A state and a run directory, in which a test puts together what a container left."""

    def __init__(self, directory: pathlib.Path, spawn: t.Any) -> None:
        self.store = Store(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        self.paths = self.store.paths("web")
        self.runtime_root = f"{directory}/run/runc"
        self._spawn = spawn
        for path in (self.paths.state, self.paths.persist, self.paths.exits, self.paths.bundle):
            os.makedirs(path)

    def alive(self) -> ProcessId:
        found = identify(self._spawn().pid)
        assert found is not None
        return found

    def dead(self) -> ProcessId:
        """Who a process was that is no more."""
        child = self._spawn()
        found = identify(child.pid)
        child.kill()
        child.wait()
        assert found is not None
        return found

    def record(self, **changes: t.Any) -> Record:
        record = builders.record(**{"runtime_root": self.runtime_root, "boot": boot_id(), **changes})
        self.store.save(record)
        return record

    def put(self, directory: str, name: str, text: str = "") -> None:
        os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/{name}", "w", encoding="utf-8") as stream:
            stream.write(text)

    def look(self) -> Observed:
        return observe.observe(self.store, "web")


@pytest.fixture
def host(tmp_path: pathlib.Path, spawn: t.Any) -> Host:
    return Host(tmp_path, spawn)


class TestStatus:
    @pytest.mark.pure
    def test_nothing(self, tmp_path: pathlib.Path) -> None:
        empty = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
        assert observe.observe(empty, "web") == Observed("web", Status.ABSENT)

    @pytest.mark.pure
    @pytest.mark.parametrize("place", ["state/containers/web", "run/containers/web", "run/crun/web", "run/runc/web"])
    def test_leftovers_without_a_record(self, tmp_path: pathlib.Path, place: str) -> None:
        store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
        os.makedirs(tmp_path / place)
        assert observe.observe(store, "web") == Observed("web", Status.ABSENT, leftovers=True)
        assert leftover_paths.leftovers(store, "web") == [f"{tmp_path}/{place}"]

    @pytest.mark.pure
    def test_a_damaged_record_is_a_leftover(self, host: Host) -> None:
        host.put(host.paths.state, "record.json", "{")
        assert host.look() == Observed("web", Status.ABSENT, leftovers=True)

    def test_an_interrupted_launch(self, host: Host) -> None:
        record = host.record(phase="creating", init=host.alive())
        assert host.look() == Observed("web", Status.ABSENT, record, leftovers=True)

    @pytest.mark.parametrize("phase", ["created", "running", "stopping"])
    def test_running(self, host: Host, phase: str) -> None:
        record = host.record(phase=phase, init=host.alive(), monitor=host.alive())
        assert host.look() == Observed("web", Status.RUNNING, record, monitored=True)

    @pytest.mark.parametrize(
        ("phase", "service", "alive", "unready"),
        [
            ("starting", False, True, True), ("starting", True, True, False), ("running", False, True, False),
            ("created", False, True, False), ("starting", False, False, False),
        ],
    )  # fmt: skip
    def test_readiness_that_no_process_waits_for(
        self, host: Host, phase: str, service: bool, alive: bool, unready: bool
    ) -> None:
        init = host.alive() if alive else host.dead()
        host.record(phase=phase, init=init, definition=builders.definition(service=service))
        assert host.look().unready is unready

    def test_running_without_a_monitor(self, host: Host) -> None:
        """conmon was killed; the container goes on."""
        record = host.record(init=host.alive(), monitor=host.dead())
        assert host.look() == Observed("web", Status.RUNNING, record, monitored=False)

    def test_created(self, host: Host) -> None:
        """Until it is started, the runtime keeps a FIFO in its state directory."""
        host.record(phase="created", init=host.alive())
        os.makedirs(f"{host.runtime_root}/web")
        os.mkfifo(f"{host.runtime_root}/web/exec.fifo")
        assert host.look().status is Status.CREATED
        # Started by hand: the record has not heard of it.
        os.unlink(f"{host.runtime_root}/web/exec.fifo")
        assert host.look().status is Status.RUNNING

    def test_paused(self, host: Host, scratch_cgroup: str) -> None:
        where = cgroup.layout()
        root, name, freeze = next(
            (mount, "freezer.state", "FROZEN") for names, mount in (*where.v1, ("freezer", "")) if "freezer" in names
        )
        if not root:
            root, name, freeze = str(where.v2), "cgroup.freeze", "1"
        init = host.alive()
        host.record(init=init, cgroup_path=scratch_cgroup)
        os.mkdir(root + scratch_cgroup)
        try:
            for file, text in (("cgroup.procs", str(init.pid)), (name, freeze)):
                with open(f"{root}{scratch_cgroup}/{file}", "w", encoding="ascii") as stream:
                    stream.write(text)
            assert host.look().status is Status.PAUSED
        finally:
            cgroup_removal.thaw(scratch_cgroup)
        assert host.look().status is Status.RUNNING

    def test_stopped_and_removed(self, host: Host) -> None:
        """The runtime has forgotten it, and it waits to be made anew: its last exit is told from the record."""
        end = Exit(3, "exited", "2026-01-01T00:00:00.000000Z", False)
        record = host.record(phase="removed", last_exit=end, init=host.alive())
        assert host.look() == Observed("web", Status.STOPPED, record, exit=end)

    @pytest.mark.parametrize("change", [{"start": 1}, {"boot": "another"}])
    def test_the_pid_of_another_process_means_nothing(self, host: Host, change: dict[str, t.Any]) -> None:
        host.record(init=host.alive()._replace(**change))
        assert host.look().status is Status.STOPPED


class TestExit:
    @pytest.mark.parametrize(
        ("text", "code", "reason"),
        [
            ("0", 0, "exited"), ("7", 7, "exited"), ("7\n", 7, "exited"), ("128", 128, "exited"), ("137", 137, "killed"),
            ("143", 143, "killed"), ("192", 192, "killed"),
            # What no signal makes: exit(-1), as ssh and many a script say.
            ("255", 255, "exited"), ("200", 200, "exited"),
            # conmon --timeout.
            ("-1", None, "monitor-timeout"),
        ],
    )  # fmt: skip
    def test_as_conmon_wrote_it(self, host: Host, text: str, code: int | None, reason: str) -> None:
        host.record(init=host.dead(), monitor=host.dead())
        host.put(host.paths.exits, "web", text)
        os.utime(f"{host.paths.exits}/web", (1000000000, 1000000000.5))
        found = host.look()
        assert found.status is Status.STOPPED
        assert found.exit == Exit(code, reason, "2001-09-09T01:46:40.500000Z", False)

    @pytest.mark.parametrize("broken", [None, "", " \n", "x", "12.5"])
    def test_the_other_file_system_has_it_too(self, host: Host, broken: str | None) -> None:
        """A full one leaves no exit file, or an empty one."""
        host.record(init=host.dead(), monitor=host.dead())
        if broken is not None:
            host.put(host.paths.exits, "web", broken)
        host.put(host.paths.persist, "exit", "7")
        end = host.look().exit
        assert end is not None
        assert (end.code, end.reason) == (7, "exited")

    def test_conmon_died_first(self, host: Host) -> None:
        host.record(init=host.dead(), monitor=host.dead())
        assert host.look().exit == Exit(None, "monitor-lost", None, False)

    def test_the_host_went_down(self, host: Host) -> None:
        old: dict[str, t.Any] = {"boot": "another"}
        host.record(init=host.alive()._replace(**old), monitor=host.alive()._replace(**old), **old)
        assert host.look().exit == Exit(None, "host-rebooted", None, False)

    def test_it_ended_before_the_host_went_down(self, host: Host) -> None:
        """What is kept durably is still there."""
        host.record(init=host.dead()._replace(boot="another"), boot="another")
        host.put(host.paths.persist, "exit", "7")
        end = host.look().exit
        assert end is not None
        assert (end.code, end.reason) == (7, "exited")

    def test_conmon_is_there_and_writes_nothing(self, host: Host) -> None:
        record = host.record(init=host.dead(), monitor=host.alive())
        found = exit_wait.collect_exit(record, host.paths, Deadline(0.05))
        assert found == Exit(None, "no-exit-file", None, False)

    @pytest.mark.parametrize("place", ["persist", "bundle"])
    def test_out_of_memory(self, host: Host, place: str) -> None:
        host.record(init=host.dead(), monitor=host.dead())
        host.put(host.paths.exits, "web", "137")
        host.put(getattr(host.paths, place), "oom")
        end = host.look().exit
        assert end is not None
        assert end.oom is True

    def test_an_exit_file_that_is_on_its_way_is_waited_for(self, host: Host) -> None:
        """conmon writes a temporary file and renames it; other names in the directory mean nothing."""
        record, deadline = host.record(init=host.dead(), monitor=host.alive()), Deadline(30)
        found: list[Exit] = []
        thread = threading.Thread(target=lambda: found.append(exit_wait.collect_exit(record, host.paths, deadline)))
        thread.start()
        host.put(host.paths.exits, "web.A1B2C3", "7")
        os.rename(f"{host.paths.exits}/web.A1B2C3", f"{host.paths.exits}/web")
        thread.join()
        assert (found[0].code, found[0].reason) == (7, "exited")
        assert deadline.remaining() > 0

    def test_the_end_of_conmon_ends_the_wait(self, host: Host) -> None:
        monitor = host.alive()
        record, deadline = host.record(init=host.dead(), monitor=monitor), Deadline(30)
        os.kill(monitor.pid, signal.SIGKILL)
        assert exit_wait.collect_exit(record, host.paths, deadline) == Exit(None, "monitor-lost", None, False)
        assert deadline.remaining() > 0

    def test_without_directories_there_is_nothing_to_wait_for(self, host: Host) -> None:
        """Somebody has emptied the run directory."""
        record = host.record(init=host.dead(), monitor=host.alive())
        os.rmdir(host.paths.exits)
        assert exit_wait.collect_exit(record, host.paths, Deadline(30)).code is None


class TestCheckpoint:
    """What became of a dump is known also where the task that asked for it was killed."""

    def _host(
        self, host: Host, *, phase: str, alive: bool = False, log: str = "dump-good", image: bool = True
    ) -> Record:
        path = f"{host.paths.state}/checkpoints/one"
        host.put(path, "dump.log", builders.transcript("criu", "4.1.1", f"{log}.log.txt"))
        if image:
            host.put(f"{path}/checkpoint", "inventory.img")
        host.put(host.paths.exits, "web", "137")
        init = host.alive() if alive else host.dead()
        return host.record(phase=phase, init=init, checkpoint=Checkpoint(path, ["--tcp-established"]))

    @pytest.mark.parametrize(
        ("phase", "unfinished"), [("checkpointed", False), ("restoring", True), ("checkpointing", True)]
    )
    def test_it_is_on_disk(self, host: Host, phase: str, unfinished: bool) -> None:
        record = self._host(host, phase=phase)
        assert host.look() == Observed("web", Status.CHECKPOINTED, record, leftovers=unfinished, unfinished=unfinished)

    @pytest.mark.parametrize("broken", [{"log": "dump-connected"}, {"image": False}])
    def test_a_dump_that_failed_is_none(self, host: Host, broken: dict[str, t.Any]) -> None:
        self._host(host, phase="checkpointing", **broken)
        assert host.look().status is Status.STOPPED

    def test_it_is_being_dumped(self, host: Host) -> None:
        self._host(host, phase="checkpointing", alive=True)
        assert host.look().status is Status.RUNNING
