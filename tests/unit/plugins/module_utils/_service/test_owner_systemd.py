# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service of systemd is made of. That systemd runs it is tested on hosts that have it (oci_container, service)."""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import subprocess
import textwrap
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo, trees
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
from ansible_collections.longshore.oci.plugins.module_utils._host.service_processes import with_service_processes
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import owners
from ansible_collections.longshore.oci.plugins.module_utils._service import owner_systemd, service_unit
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition, Program, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, programs
from ansible_collections.longshore.oci.tests.unit.odd_names import ODD_NAMES

# A program that tells how it was called: the runtime by its arguments, conmon by what it was given besides.
TELL = """
with open({calls!r}, "a") as stream:
    words = [os.environ.get("WORD"), os.getcwd()] if sys.argv[0].endswith("conmon") else sys.argv[1:]
    print(os.path.basename(sys.argv[0]), *words, file=stream)
"""


class Scripted:
    """The script of a service with a conmon and a runtime that only say how they were called."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.store = Store(state_dir=f"{directory}/state dir", run_dir=f"{directory}/run dir")
        self.paths = self.store.paths("web")
        os.makedirs(self.paths.state)
        self.calls = directory / "calls"
        self._directory = directory

    def run(
        self, verb: str, conmon: str, *, before: t.Sequence[str] = (), **more: t.Any
    ) -> subprocess.CompletedProcess[str]:
        tell = TELL.format(calls=str(self.calls))
        runtime = Program("runc", programs.conmon(self._directory / "the runtime", tell), "1.1")
        monitor = Program("conmon", programs.conmon(self._directory / "conmon", tell + conmon), "2.1.12")
        settings = {
            "service": True,
            "conmon_env": {"WORD": """it's "$HOME" """},
            "sdnotify": more.pop("sdnotify", "ignore"),
        }
        definition = Definition(f"{self._directory}/bundle", **settings)
        record = builders.record(
            name="web", definition=definition, runtime=runtime, conmon=monitor, cgroup_manager="systemd",
            runtime_root=f"{self._directory}/the root", **more,
        )  # fmt: skip
        text = service_unit.script_text(record, self.paths, terminal=False)
        return subprocess.run(
            [*before, "/bin/sh", "-c", text, "sh", verb], capture_output=True, text=True, timeout=30, check=False
        )

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def scripted(tmp_path: pathlib.Path) -> Scripted:
    return Scripted(tmp_path)


def test_a_start(scripted: Scripted) -> None:
    os.makedirs(scripted.paths.exits)
    stale = pathlib.Path(scripted.paths.exits) / "web"
    stale.write_text("0")
    done = scripted.run("start", """report('{"data": 12}\\n')""")
    assert (done.returncode, done.stderr) == (0, "")
    monitor, runtime = scripted.called()
    assert monitor == f"""conmon it's "$HOME"  {scripted.paths.bundle}"""
    assert runtime.endswith("--systemd-cgroup start web")
    assert not stale.exists()
    assert os.readlink(f"{scripted.paths.bundle}/config.json") == scripted.paths.config
    assert os.stat(scripted.paths.run).st_mode & 0o777 == 0o750


def test_a_container_that_says_when_it_is_ready(
    scripted: Scripted, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd is told of conmon before the container runs, and conmon of the socket of systemd, not in its environment."""
    manager = f"{tmp_path}/the manager"
    heard: list[str] = []

    def listen(opened: socket.socket) -> None:
        """As systemd does: a message with a descriptor asks for that to be closed when all before it has been read."""
        while not heard or heard[-1] != "BARRIER=1":
            message, descriptors, _flags, _address = socket.recv_fds(opened, 4096, 4)
            heard.append(message.decode().strip())
            for descriptor in descriptors:
                os.close(descriptor)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(manager)
        opened.settimeout(10)
        listener = threading.Thread(target=listen, args=(opened,))
        listener.start()
        monkeypatch.setenv("NOTIFY_SOCKET", manager)
        tell = f"""
            assert "NOTIFY_SOCKET" not in os.environ
            assert sys.argv[sys.argv.index("--sdnotify-socket") + 1] == {manager!r}
            open({scripted.paths.conmon_pidfile!r}, "w").write("4711")
            """
        done = scripted.run("start", f"""{textwrap.dedent(tell)}report('{{"data": 12}}\\n')""", sdnotify="container")
        assert (done.returncode, done.stderr) == (0, "")
        listener.join()
    assert heard[0] == "MAINPID=4711"
    assert os.stat(scripted.paths.notify).st_mode & 0o777 == 0o755
    unit = service_unit.unit_text(
        builders.record(definition=Definition("/srv/web", service=True, sdnotify="container")), scripted.paths,
        Timeouts(create=10, ready=20),
    ).splitlines()  # fmt: skip
    assert {"Type=notify", "NotifyAccess=all", "TimeoutStartSec=30"} <= set(unit)
    assert not [line for line in unit if line.startswith("PIDFile=")]


MOUNTED = """\
29 1 0:26 / / rw shared:1 - ext4 /dev/vda rw
60 29 0:51 / {root} rw - overlay overlay rw,lowerdir=/a\\040b,upperdir=/u,workdir=/w,redirect_dir=nofollow,uuid=on
61 29 0:52 / /relative rw - overlay overlay rw,lowerdir=a,upperdir=u,workdir=w
62 29 0:53 / /plain rw - tmpfs tmpfs rw
63 29 0:54 / /labelled rw - overlay overlay rw,context="a:b:c:s0:c1,c2",lowerdir=/l,upperdir=/u,workdir=/w
"""


@pytest.mark.pure
def test_an_overlay_is_mounted_again(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(tmp_path)
    mounts = list(mountinfo.parse(MOUNTED.format(root=root).encode()))
    monkeypatch.setattr(mountinfo, "read", lambda: mounts)
    overlay = (root, "lowerdir=/a b,upperdir=/u,workdir=/w,redirect_dir=nofollow")
    assert service_unit.overlay_at(root) == overlay
    assert [service_unit.overlay_at(path) for path in ("/relative", "/plain", "/", "/nowhere")] == 4 * [None]
    assert service_unit.overlay_at("/labelled") == (
        "/labelled", 'context="a:b:c:s0:c1,c2",lowerdir=/l,upperdir=/u,workdir=/w'
    )  # fmt: skip
    record = builders.record(definition=Definition("/srv/web", service=True), overlay=list(overlay))
    script = service_unit.script_text(record, Store(state_dir="/s", run_dir="/r").paths("web"), terminal=False)
    wanted = f"mountpoint --quiet {root} || mount -t overlay -o 'lowerdir=/a b,upperdir=/u,workdir=/w,redirect_dir=nofollow' overlay {root}"
    assert wanted in script


@pytest.mark.parametrize("report", ['{"data": -1, "message": "no such program"}\n', ""])
def test_a_start_that_fails(scripted: Scripted, report: str) -> None:
    done = scripted.run("start", f'print("in the words of conmon", flush=True); report({report!r})')
    assert done.returncode == 1
    assert "in the words of conmon" in done.stderr
    assert report.strip() in done.stderr
    assert len(scripted.called()) == 1  # Nothing is started that is not there.


def test_what_an_earlier_run_left_is_deleted_first(scripted: Scripted, tmp_path: pathlib.Path) -> None:
    os.makedirs(tmp_path / "the root" / "web")
    scripted.run("start", """report('{"data": 12}\\n')""")
    assert scripted.called()[0].endswith("delete --force web")


@pytest.mark.parametrize("verb", ["start", "clean"])
@pytest.mark.parametrize(
    "place", ["run dir/containers/web/ns\t\\00405 %s", "the root/web/criu-root", "state dir/containers/web/persist"]
)
def test_nothing_is_removed_through_a_mount(scripted: Scripted, tmp_path: pathlib.Path, verb: str, place: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/precious").write_text("")
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / "the root/web").mkdir(parents=True, exist_ok=True)
    # What has a name like it is not touched.
    others = [tmp_path / "the root/web2", tmp_path / "the root/we"]
    mounts = [tmp_path / place, *others]
    for path in mounts:
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", tmp_path / "source", path], check=True)
    try:
        scripted.run(verb, """report('{"data": 12}\\n')""")
        assert os.listdir(tmp_path / "source") == ["precious"]
        assert not (tmp_path / place / "precious").exists()
        assert [os.listdir(path) for path in others] == [["precious"]] * 2
        assert "delete --force web" in scripted.called()[0]
    finally:
        for path in mounts:
            subprocess.run(["umount", "-q", "-l", path], check=False)


@pytest.mark.parametrize("verb", ["start", "clean"])
def test_nothing_is_removed_through_a_mount_at_any_name(scripted: Scripted, tmp_path: pathlib.Path, verb: str) -> None:
    """In a run directory that a link leads to, so that its real path is not the one that was given."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/precious").write_text("")
    names = [t.cast(str, case.values[0]) for case in ODD_NAMES]
    real = tmp_path / "a b\tc\nd\\e\\040f"
    real.mkdir()
    os.symlink(real, tmp_path / "run dir")
    places = [real / "containers/web" / name for name in names]
    try:
        for place in places:
            place.mkdir(parents=True)
            subprocess.run(["mount", "--bind", tmp_path / "source", place], check=True)
        done = scripted.run(verb, """report('{"data": 12}\\n')""")
        assert os.listdir(tmp_path / "source") == ["precious"]
        # One whose name ends in a line feed is nothing that a shell can name: nothing is removed there.
        left = [str(place) for place in places if str(place).endswith("\n")]
        assert (done.returncode, trees.mounted(str(real))) == (1, left)
    finally:
        for place in places:
            subprocess.run(["umount", "-q", "-l", place], check=False)


@pytest.mark.parametrize("verb", ["start", "clean"])
def test_what_cannot_be_unmounted_is_a_refusal(
    scripted: Scripted, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    place = tmp_path / "the root/web/criu-root"
    place.mkdir(parents=True)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/precious").write_text("")
    subprocess.run(["mount", "--bind", tmp_path / "source", place], check=True)
    try:
        done = scripted.run(verb, "", before=["setpriv", "--bounding-set=-sys_admin"])
        assert (done.returncode, scripted.called()) == (1, [])
        assert done.stderr.startswith("Nothing is removed: something is mounted at ")
        assert os.listdir(tmp_path / "source") == ["precious"]
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize(("grace", "signals"), [(0.2, ["12", "KILL"]), (0, ["9", "KILL"])])
def test_a_stop_of_what_does_not_end(scripted: Scripted, grace: float, signals: list[str]) -> None:
    """conmon is alive as long as somebody has the lock."""
    os.makedirs(scripted.paths.run)
    hold = ["flock", f"{scripted.paths.run}/alive", "sh", "-c", "echo held; exec sleep 60"]
    with subprocess.Popen(hold, stdout=subprocess.PIPE, start_new_session=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            scripted.run("stop", "", stop_signal=12, stop_timeout=grace)
        finally:
            os.killpg(holder.pid, 9)
    assert [line.split()[-1] for line in scripted.called() if " kill web " in line] == signals


def test_a_stop_of_what_ends_in_time(scripted: Scripted) -> None:
    os.makedirs(scripted.paths.run)
    scripted.run("stop", "", stop_signal=12, stop_timeout=10)
    assert [line.split()[-1] for line in scripted.called() if " kill web " in line] == ["12"]


@pytest.mark.pure
def test_the_unit_escapes_what_systemd_would_replace(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=f"{tmp_path}/100%", run_dir=f"{tmp_path}/run")
    record = builders.record(
        name="web", definition=Definition("/srv/a b%c", service=True, restart_policy="always"), stop_timeout=7
    )
    lines = service_unit.unit_text(record, store.paths("web"), Timeouts(create=0.1)).splitlines()
    assert f'RequiresMountsFor="{tmp_path}/100%%/containers/web" "/srv/a b%%c"' in lines
    assert "Restart=always" in lines
    assert "TimeoutStartSec=1" in lines
    assert "TimeoutStopSec=17" in lines


# As systemd.syntax(7) and systemd.service(5) have it: (text, in a list of paths, in a command).
QUOTED = [
    ("/srv/plain", '"/srv/plain"', '"/srv/plain"'),
    ("/srv/a b", '"/srv/a b"', '"/srv/a b"'),
    ("/srv/100%", '"/srv/100%%"', '"/srv/100%%"'),
    ("/srv/%n%i", '"/srv/%%n%%i"', '"/srv/%%n%%i"'),
    ('/srv/"q"', r'"/srv/\"q\""', r'"/srv/\"q\""'),
    ("/srv/it's", '"/srv/it\'s"', '"/srv/it\'s"'),
    ("/srv/b\\", r'"/srv/b\\"', r'"/srv/b\\"'),
    (r"/srv/\x41\n", r'"/srv/\\x41\\n"', r'"/srv/\\x41\\n"'),
    ("/srv/$HOME/${X}", '"/srv/$HOME/${X}"', '"/srv/$$HOME/$${X}"'),
    ("/srv/é ü;#&", '"/srv/é ü;#&"', '"/srv/é ü;#&"'),
    ("", '""', '""'),
]


@pytest.mark.pure
@pytest.mark.parametrize(("text", "path", "command"), QUOTED)
def test_words_of_a_unit(text: str, path: str, command: str) -> None:
    assert service_unit.unit_quote(text) == path
    assert service_unit.unit_quote(text, command=True) == command


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_reads_every_unit(tmp_path: pathlib.Path) -> None:
    """That it then means the very paths is seen on hosts (oci_container, service/quoting)."""
    for number, (text, _path, _command) in enumerate(QUOTED):
        store = Store(state_dir=f"{tmp_path}{text}", run_dir=f"{tmp_path}/run{text}")
        record = builders.record(name="web", definition=Definition(f"{text}/bundle", service=True))
        unit = tmp_path / f"longshore-{number}.service"
        unit.write_text(service_unit.unit_text(record, store.paths("web"), Timeouts(create=5)), encoding="utf-8")
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert f"longshore-{number}.service:" not in done.stderr, done.stderr


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
        definition=Definition("/srv/new", service=True), cgroup_manager="systemd", phase=Phase.CREATING
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
    ({"conmon_pidfile": "/run/x\\"}, "cannot end with a blank or a backslash"),
    ({"conmon_pidfile": "/run/x "}, "cannot end with a blank or a backslash"),
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
    assert {each.split()[1] for each in told} == {"stopping"}
    assert now is not None
    assert now == store.load("web")
    assert (now.phase, now.stop_timeout) == ("stopped", 77)
    assert not report.killed
    assert "10" in pathlib.Path(store.paths("web").service_script).read_text()


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


@pytest.mark.pure
def test_a_pid_file_is_believed_only_of_a_process_in_the_scope(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    paths = store.paths("web")
    os.makedirs(paths.run)
    for path in (paths.pidfile, paths.conmon_pidfile):
        pathlib.Path(path).write_text(str(os.getpid()))
    record = builders.record(name="web", definition=Definition("/srv/web", service=True))
    assert with_service_processes(record, paths) == record
    known = record.replace(init=identify(os.getpid()))
    assert with_service_processes(known, paths) == known


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
