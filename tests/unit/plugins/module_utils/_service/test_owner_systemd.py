# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task does with a service, where no systemd is reached. The contract of owners runs on hosts that have one."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    InvalidOption,
    LongshoreError,
    ProgramFailed,
)
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._config.config import effective as effective_config
from ansible_collections.longshore.oci.plugins.module_utils._container import stop
from ansible_collections.longshore.oci.plugins.module_utils._container.create import Launch
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import owners
from ansible_collections.longshore.oci.plugins.module_utils._service import owner_systemd
from ansible_collections.longshore.oci.plugins.module_utils._service.service_unit import failed_mark
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.model import CgroupManager, Definition, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders


@pytest.fixture
def without_systemd(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Units are in a directory of the test, and the bus of systemd cannot be reached. Returns the path of the unit."""
    monkeypatch.setattr(names, "service_path", lambda name, _realm: f"{tmp_path}/{name}.service")

    def unreachable(_seconds: float) -> t.NoReturn:
        raise LongshoreError("Cannot reach the bus of systemd.")

    monkeypatch.setattr(owner_systemd, "connect", unreachable)
    return f"{tmp_path}/web.service"


@pytest.mark.pure
@pytest.mark.parametrize("existed", [False, True])
def test_a_service_that_cannot_be_made_leaves_what_was_there(
    tmp_path: pathlib.Path, without_systemd: str, existed: bool
) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    paths = store.paths("web")
    former = builders.record(name="web", phase="removed", definition=Definition("/srv/former"), realm=store.realm)
    if existed:
        os.makedirs(paths.state)
        store.save(former)
        store.claim_bundle("/srv/former", "web")
        pathlib.Path(paths.config).write_text("the former one")
    record = former._replace(
        definition=Definition("/srv/new", service=True), cgroup_manager=CgroupManager.SYSTEMD, phase=Phase.CREATING
    )
    config = {"root": {"path": f"{tmp_path}"}, "linux": {}, "process": {}}
    with pytest.raises(LongshoreError, match="Cannot reach the bus"):
        owner_systemd.create(store, Launch(record, config), previous=former if existed else None, timeouts=Timeouts())
    claims = [os.readlink(entry) for entry in os.scandir(f"{store.state_dir}/bundles")]
    # The bus cannot be reached for the removal either. The script has the environment of conmon in it.
    assert not os.path.exists(without_systemd)
    assert not os.path.exists(paths.service_script)
    if existed:
        assert store.load("web") == former
        assert pathlib.Path(paths.config).read_text() == "the former one"
        assert (claims, store.bundle_holder("/srv/former")) == (["web"], former)
    else:
        assert (claims, os.path.exists(paths.state)) == ([], False)


# fields of the definition or of the record, and the sentence
REFUSED: list[tuple[dict[str, t.Any], str]] = [
    ({"cgroup_manager": "cgroupfs"}, "A service needs systemd, and the cgroup manager systemd"),
    ({"network_helper": "slirp4netns"}, "slirp4netns cannot be used with service"),
    ({"reserve_ports": ("8080",)}, "reserve_ports cannot be used with service"),
    ({"listen": ("8080",)}, "listen cannot be used with service"),
    # Another user can have made it in /tmp by the time of the boot.
    ({"runtime_root": "/tmp/longshore-nowhere/"}, "runtime_root: the directory /tmp can be changed"),
]


def _check(store: Store, config: dict[str, t.Any], *, cgroup_manager: str = "systemd", **wanted: t.Any) -> None:
    definition = builders.definition(service=True, **wanted)
    record = builders.record(phase="creating", cgroup_manager=cgroup_manager, definition=definition)
    effective = effective_config(config, record, store.paths("web"))
    owners.owner_of(definition).check(store, Launch(record, effective))


class TestCheck:
    @pytest.fixture
    def store(self, tmp_path: pathlib.Path) -> Store:
        return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")

    @pytest.mark.parametrize(("wanted", "says"), REFUSED)
    def test_what_cannot_be_a_service(self, store: Store, wanted: dict[str, t.Any], says: str) -> None:
        with pytest.raises(InvalidOption) as caught:
            _check(store, builders.config(), **wanted)
        assert says in caught.value.message

    def test_what_can_be_one(self, store: Store) -> None:
        _check(store, builders.config())
        _check(
            store,
            builders.config(),
            runtime_root="/run/longshore-nowhere",
            restart_policy="always",
            network_helper="pasta",
        )

    def test_a_root_file_system_that_its_root_cannot_enter(self, store: Store, tmp_path: pathlib.Path) -> None:
        mapping = [{"containerID": 0, "hostID": 300000, "size": 1000}]
        spaces = {"namespaces": [{"type": "user"}], "uidMappings": mapping, "gidMappings": mapping}
        (tmp_path / "rootfs").mkdir(mode=0o700)
        with pytest.raises(InvalidOption, match=r"The root of the container cannot enter .*, which contains its root"):
            _check(store, builders.config(root={"path": f"{tmp_path}/rootfs"}, linux=spaces))

    @pytest.mark.parametrize("source", ["/a\nExecStart=/bin/x", "/a\tb", "/a\x7f", "/a\u2028b", "/a\udcff"])
    def test_a_mount_that_a_unit_cannot_name(self, store: Store, source: str) -> None:
        mounts = [{"destination": "/x", "type": "bind", "source": source}]
        with pytest.raises(InvalidOption, match="source of a mount of a service cannot have control characters"):
            _check(store, builders.config(mounts=mounts))
        mounts[0].update(type="tmpfs")
        _check(store, builders.config(mounts=mounts))

    def test_another_container_need_not_run_yet_its_scope_is_known(self, store: Store) -> None:
        for name, manager in (("db", "systemd"), ("other", "cgroupfs")):
            os.makedirs(store.paths(name).state)
            store.save(builders.record(name=name, cgroup_manager=manager))
        shares = {name: {"namespaces": [{"type": "network", "path": f"container:{name}"}]} for name in ("db", "other")}
        _check(store, builders.config(linux=shares["db"]))
        with pytest.raises(InvalidOption, match="only with cgroup_manager: systemd of that"):
            _check(store, builders.config(linux=shares["other"]))


@pytest.mark.pure
def test_what_another_task_saves_while_a_service_stops_is_kept(
    tmp_path: pathlib.Path, without_systemd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is free meanwhile. The record says what systemd is told before it is told, and before the script is changed."""
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    record = builders.record(name="web", definition=Definition("/srv/web", service=True), created_at="then")
    os.makedirs(store.paths("web").state)
    store.save(record)
    told: list[str] = []

    class Systemd:
        def __init__(self, _seconds: float) -> None: ...

        def __enter__(self) -> t.Any:
            return self

        def __exit__(self, *_exc: object) -> None: ...

        def __getattr__(self, name: str) -> t.Callable[..., t.Any]:
            def tell(*_arguments: object) -> None:
                now = store.load("web")
                assert now is not None
                told.append(f"{name} {now.phase.value}")
                if name == "wait_for_job":
                    store.save(now.replace(stop_timeout=77))

            return tell

    monkeypatch.setattr(owner_systemd, "connect", Systemd)
    with store.locked("web", Deadline(5)) as lock:
        report, now = owner_systemd.stop(store, lock, record, number=10, timeouts=Timeouts(stop=0.1))
    # Its own stop settings are in the script again after that.
    assert {each.split()[1] for each in told if not each.startswith("reload")} == {"stopping"}
    assert told[-1] == "reload stopped"
    assert now is not None
    assert now == store.load("web")
    assert (now.phase, now.stop_timeout) == ("stopped", 77)
    assert not report.killed
    script = pathlib.Path(store.paths("web").service_script).read_text()
    assert "runtime kill web 15\n" in script
    assert "flock --wait 77 " in script
    assert told.count("reload stopping") == 1


@pytest.mark.pure
@pytest.mark.parametrize("sessions", [False, True])
def test_time_without_the_lock_is_not_of_the_time_for_systemd(
    tmp_path: pathlib.Path, without_systemd: str, monkeypatch: pytest.MonkeyPatch, sessions: bool
) -> None:
    """Another task may have the lock for minutes. A connection from before would be past its deadline then."""
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    record = builders.record(name="web", definition=Definition("/srv/web", service=True), created_at="then")
    os.makedirs(store.paths("web").state)
    if sessions:
        os.makedirs(store.paths("web").exec)
    store.save(record)
    told: list[str] = []

    class Lock:
        def release(self) -> None: ...

        def acquire(self, _deadline: Deadline) -> None:
            told.append("lock")

    class Systemd:
        def __init__(self, _seconds: float) -> None:
            self.opened = told.count("lock")

        def __enter__(self) -> t.Any:
            return self

        def __exit__(self, *_exc: object) -> None: ...

        def __getattr__(self, name: str) -> t.Callable[..., None]:
            def tell(*_arguments: object) -> None:
                assert told.count("lock") == self.opened, f"{name} with a connection from before"
                told.append(name)

            return tell

    monkeypatch.setattr(owner_systemd, "connect", Systemd)
    _report, now = owner_systemd.stop(store, t.cast(t.Any, Lock()), record, number=10, timeouts=Timeouts(stop=0.1))
    assert now is not None
    assert now.phase is Phase.STOPPED
    assert told.count("lock") == (2 if sessions else 1)
    assert {"disable", "begin_job", "wait_for_job", "reset_failed"} <= set(told)


@pytest.mark.parametrize(
    "change", [{"created_at": "later"}, {"phase": Phase.REMOVED}, {"phase": Phase.CHECKPOINTED}, None]
)
def test_a_service_that_another_task_replaces_while_it_stops_is_not_touched(
    tmp_path: pathlib.Path, without_systemd: str, monkeypatch: pytest.MonkeyPatch, change: t.Any
) -> None:
    """The lock is free meanwhile, and the next container has the same unit, scope and cgroup."""
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    record = builders.record(name="web", definition=Definition("/srv/web", service=True), created_at="then")
    os.makedirs(store.paths("web").state)
    store.save(record)
    told: list[str] = []

    class Systemd(StartingUnit):
        def __getattr__(self, name: str) -> t.Callable[..., bool]:
            def tell(*_arguments: object) -> bool:
                told.append(name)
                if name == "wait_for_job":
                    store.save(record._replace(**change)) if change else store.forget("web")
                return False

            return tell

    monkeypatch.setattr(owner_systemd, "connect", lambda _seconds: Systemd(told))
    monkeypatch.setattr(owner_systemd, "kill_all", lambda *_arguments: told.append("kill_all"))
    with store.locked("web", Deadline(5)) as lock:
        _report, now = owner_systemd.stop(store, lock, record, number=10, timeouts=Timeouts(stop=0.1))
    assert now is None
    assert told[-1] == "wait_for_job"
    assert store.load("web") == (record._replace(**change) if change else None)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("result", "uid", "says", "hint"),
    [
        ("failed", 0, "Cannot start the container web: the job of systemd has the result failed.", "journalctl --unit longshore-web"),
        ("timeout", 1000, "Cannot start the container web: it said so.", "journalctl --user-unit longshore-web.service"),
        ("dependency", 0, "Cannot start the container web: a unit that it needs, such as a mount, cannot be started.", "journalctl"),
        ("done", 0, "Cannot start the container web: it said so.", "journalctl --unit"),
    ],
)  # fmt: skip
def test_a_start_that_fails(
    tmp_path: pathlib.Path,
    without_systemd: str,
    monkeypatch: pytest.MonkeyPatch,
    result: str,
    uid: int,
    says: str,
    hint: str,
) -> None:
    """One that fails after the unit is active has left a mark."""
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    record = builders.record(name="web", phase="created", definition=Definition("/srv/web", service=True))
    paths, told = store.paths("web"), []
    for directory in (paths.state, paths.run):
        os.makedirs(directory)
    if result == "done":
        pathlib.Path(failed_mark(paths)).write_text("")
    if "it said so" in says:
        pathlib.Path(paths.conmon_log).write_text("it said so.\n")

    class Systemd:
        def __init__(self, _seconds: float) -> None: ...

        def __enter__(self) -> t.Any:
            return self

        def __exit__(self, *_exc: object) -> None: ...

        def __getattr__(self, name: str) -> t.Callable[..., str]:
            told.append(name)
            return lambda *_arguments: result

    monkeypatch.setattr(owner_systemd, "connect", Systemd)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(ProgramFailed) as caught:
        owner_systemd.start(store, record, Timeouts())
    assert caught.value.message == says
    assert hint in caught.value.hint
    assert {"disable", "reset_failed"} <= set(told)


@pytest.mark.pure
def test_a_start_is_known_before_systemd_is_told(
    tmp_path: pathlib.Path, without_systemd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    record = builders.record(name="web", phase="created", definition=Definition("/srv/web", service=True))
    os.makedirs(store.paths("web").state)
    phases: list[str] = []

    class Systemd:
        def __init__(self, _seconds: float) -> None: ...

        def __enter__(self) -> t.Any:
            return self

        def __exit__(self, *_exc: object) -> None: ...

        def __getattr__(self, _name: str) -> t.Callable[..., str]:
            def tell(*_arguments: object) -> str:
                now = store.load("web")
                phases.append(now.phase if now else "")
                return "failed"

            return tell

    monkeypatch.setattr(owner_systemd, "connect", Systemd)
    with pytest.raises(ProgramFailed):
        owner_systemd.start(store, record, Timeouts())
    assert set(phases) == {"starting"}
    # It has failed, and systemd has been told not to go on.
    assert store.load("web") == record


class StartingUnit:
    """systemd, for which a start is under way: it runs no ExecStop for a stop, and waits."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def __enter__(self) -> StartingUnit:
        return self

    def __exit__(self, *_exc: object) -> None: ...

    def __getattr__(self, name: str) -> t.Callable[..., bool]:
        def call(*_arguments: object) -> bool:
            self._told.append(name)
            return name == "runs_no_stop"

        return call


@pytest.mark.parametrize(("program", "killed"), [("trap 'exit 5' TERM", False), ("trap '' TERM", True)])
def test_one_that_is_not_ready_is_told_to_end_by_the_task(
    tmp_path: pathlib.Path, without_systemd: str, monkeypatch: pytest.MonkeyPatch, program: str, killed: bool
) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    monkeypatch.setattr(owner_systemd, "connect", lambda _seconds: StartingUnit([]))
    monkeypatch.setattr(stop, "kill_all", lambda *_arguments: None)
    monkeypatch.setattr(owner_systemd, "collect_exit", lambda *_arguments: None)
    with subprocess.Popen(
        ["/bin/sh", "-c", f"{program}; echo; while :; do read -t 0.05 x </dev/zero || sleep 0.05; done"],
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        record = builders.record(
            name="web", definition=Definition("/srv/web", service=True), phase="starting", init=identify(child.pid)
        )
        os.makedirs(store.paths("web").state)
        store.save(record)
        try:
            with store.locked("web", Deadline(5)) as lock:
                report, _now = owner_systemd.stop(
                    store, lock, record, number=15, timeouts=Timeouts(stop=0.5 if killed else 5)
                )
            assert child.wait(5) == (-9 if killed else 5)
        finally:
            child.kill()
    assert report.killed == killed


@pytest.mark.pure
def test_a_start_that_does_not_go_on_does_not_hold_up_a_removal(
    without_systemd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(owner_systemd, "connect", lambda _seconds: StartingUnit(told))
    owner_systemd.remove_unit("web", "")
    assert told.index("begin_job") < told.index("end_start") < told.index("wait_for_job")
