# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit and the script of a service. That systemd runs them is tested on hosts that have it (oci_container, service)."""

from __future__ import annotations

import ast
import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import textwrap
import threading
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo, trees
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._service import service_unit
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition, Program, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, programs
from ansible_collections.longshore.oci.tests.unit.odd_names import ODD_NAMES

# A program that tells how it was called: the runtime by its arguments, conmon by what it was given besides.
TELL = """
with open({calls!r}, "a") as stream:
    words = [os.environ.get("WORD"), os.getcwd()] if sys.argv[0].endswith("conmon") else sys.argv[1:]
    print(os.path.basename(sys.argv[0]), *words, file=stream)
"""


@contextlib.contextmanager
def manager(path: str, heard: list[str]) -> t.Iterator[None]:
    """Listen as systemd does: a message with a descriptor asks for that to be closed when all before it has been read."""

    def listen() -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                message, descriptors, _flags, _address = socket.recv_fds(opened, 4096, 4)
                heard.append(message.decode().strip())
                for descriptor in descriptors:
                    os.close(descriptor)
                if heard[-1] == "END":
                    return

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(path)
        opened.settimeout(20)
        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"END", path)
            listener.join()
            os.unlink(path)


class Scripted:
    """The script of a service with a conmon and a runtime that only say how they were called."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.store = Store(state_dir=f"{directory}/state dir", run_dir=f"{directory}/run dir")
        self.paths = self.store.paths("web")
        os.makedirs(self.paths.state)
        self.calls = directory / "calls"
        self.heard: list[str] = []
        self._directory = directory

    def run(
        self, verb: str, conmon: str, *, before: t.Sequence[str] = (), runtime: str = "", **more: t.Any
    ) -> subprocess.CompletedProcess[str]:
        tell = TELL.format(calls=str(self.calls))
        own = Program("runc", programs.conmon(self._directory / "the runtime", tell + runtime), "1.1")
        tell_pid = f'open({self.paths.conmon_pidfile!r}, "w").write("4711")\n'
        monitor = Program("conmon", programs.conmon(self._directory / "conmon", tell + tell_pid + conmon), "2.1.12")
        settings = {
            "service": True,
            "conmon_env": {"WORD": """it's "$HOME" """},
            "sdnotify": more.pop("sdnotify", "ignore"),
        }
        definition = Definition(f"{self._directory}/bundle", **settings)
        record = builders.record(
            name="web", definition=definition, runtime=own, conmon=monitor, cgroup_manager="systemd",
            runtime_root=f"{self._directory}/the root", **more,
        )  # fmt: skip
        text = service_unit.script_text(record, self.paths, terminal=False)
        path = f"{self._directory}/the manager"
        with manager(path, self.heard):
            return subprocess.run(
                [*before, "/bin/sh", "-c", text, "sh", verb],
                capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "NOTIFY_SOCKET": path},
            )  # fmt: skip

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
    # systemd knows the main process, and takes the unit for active, before the container can end.
    assert sorted(scripted.heard[0].split()) == ["MAINPID=4711", "READY=1"]
    assert not stale.exists()
    assert os.readlink(f"{scripted.paths.bundle}/config.json") == scripted.paths.config
    assert os.stat(scripted.paths.run).st_mode & 0o777 == 0o750


def test_conmon_keeps_room_for_the_exit_code(scripted: Scripted, tmp_path: pathlib.Path) -> None:
    """In a file without a name, which conmon alone has."""
    has = f"""open("{tmp_path}/it", "w").write(repr((os.fstat(8).st_blocks, os.fstat(8).st_nlink, os.readlink("/proc/self/fd/8"))))"""
    lacks = "\nassert not os.path.exists('/proc/self/fd/8')\n"
    done = scripted.run("start", f"""{has}\nreport('{{"data": 12}}\\n')""", runtime=lacks)
    assert (done.returncode, done.stderr) == (0, "")
    blocks, links, path = ast.literal_eval((tmp_path / "it").read_text())
    assert (blocks * 512 >= 8192, links) == (True, 0)
    assert path.startswith(scripted.paths.run)  # The file system of the exit file.
    assert not os.path.exists(f"{scripted.paths.run}/room")


@pytest.mark.parametrize("full", ["before the start", "after it"])
def test_a_run_directory_that_is_full(scripted: Scripted, full: str) -> None:
    """A file of the size that an exit code takes can be written when conmon closes its descriptors."""
    run = pathlib.Path(scripted.store.run_dir)
    run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "t", run], check=True)
    fill = f"\nwith contextlib.suppress(OSError), open({str(run / 'fill')!r}, 'wb', buffering=0) as stream:\n    while stream.write(b'x' * 4096): pass\n"
    exit_code = pathlib.Path(f"{scripted.paths.exits}/web")
    close = f"os.closerange(3, 64)\nopen({str(exit_code)!r}, 'w').write('7')\n"
    try:
        if full == "before the start":
            exec(fill, {"contextlib": contextlib})
            assert scripted.run("start", "").returncode != 0
        else:
            fork = "import contextlib\nif os.fork(): os._exit(0)\n"  # The script ends, and conmon does not.
            monitor = f"report('{{\"data\": 12}}\\n')\n{fork}import time; time.sleep(0.5)\n{fill}{close}"
            assert scripted.run("start", monitor).returncode == 0
            deadline = Deadline(20)
            while deadline.remaining() and not (exit_code.exists() and exit_code.read_text()):
                time.sleep(0.02)
            assert exit_code.read_text() == "7"
    finally:
        subprocess.run(["umount", "--lazy", run], check=True)


def test_a_container_that_says_when_it_is_ready(scripted: Scripted, tmp_path: pathlib.Path) -> None:
    """systemd is told of conmon before the container runs, and conmon of the socket of systemd, not in its environment."""
    tell = f"""
        assert "NOTIFY_SOCKET" not in os.environ
        assert sys.argv[sys.argv.index("--sdnotify-socket") + 1] == "{tmp_path}/the manager"
        """
    done = scripted.run("start", f"""{textwrap.dedent(tell)}report('{{"data": 12}}\\n')""", sdnotify="container")
    assert (done.returncode, done.stderr) == (0, "")
    assert scripted.heard[0] == "MAINPID=4711"
    assert os.stat(scripted.paths.notify).st_mode & 0o777 == 0o755
    record = builders.record(definition=Definition("/srv/web", service=True, sdnotify="container"))
    assert service_unit.start_seconds(record, Timeouts(create=10, ready=20)) == 30


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


def test_a_runtime_that_cannot_start_what_was_created(scripted: Scripted) -> None:
    """The unit is active by then. The task learns it from the mark, and systemd by the end of conmon."""
    fails = 'sys.exit("start" in sys.argv)'
    done = scripted.run("start", """report('{"data": 12}\\n')""", runtime=fails)
    assert done.returncode == 1
    assert [line.rpartition("--systemd-cgroup ")[2] for line in scripted.called()[1:]] == [
        "start web", "delete --force web"
    ]  # fmt: skip
    mark = pathlib.Path(service_unit.failed_mark(scripted.paths))
    assert mark.exists()
    assert scripted.run("start", """report('{"data": 12}\\n')""").returncode == 0
    assert not mark.exists()


def test_systemd_that_does_not_take_the_main_process(scripted: Scripted) -> None:
    """Its container is not started: systemd would end it later as one that is not ready."""
    done = scripted.run("start", """report('{"data": 12}\\n')""", before=["env", "NOTIFY_SOCKET=/no/such/socket"])
    assert done.returncode == 1
    assert scripted.called()[1:][0].endswith("delete --force web")


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
    # The exit code of conmon is not that of the main process any more.
    assert re.fullmatch("MAINPID=[0-9]+", scripted.heard[0])


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
    lines = service_unit.unit_text(record, store.paths("web"), 0.1, {}).splitlines()
    assert f'RequiresMountsFor="{tmp_path}/100%%/containers/web" "/srv/a b%%c"' in lines
    assert "Restart=always" in lines
    assert "TimeoutStartSec=1" in lines
    assert "TimeoutStopSec=17" in lines


@pytest.mark.pure
def test_the_end_of_a_service_is_no_failure_of_its_unit(tmp_path: pathlib.Path) -> None:
    """A restart policy has no limit, and systemd knows the main process of one that ends at once."""
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    for sdnotify in ("ignore", "conmon", "container"):
        record = builders.record(definition=Definition("/srv/web", service=True, sdnotify=sdnotify))
        unit, service = service_unit.unit_text(record, store.paths("web"), 5, {}).split("[Service]\n")
        assert "StartLimitIntervalSec=0\n" in unit
        assert service.startswith("Type=notify\nNotifyAccess=all\n")
        assert "PIDFile" not in service


# mounts of the config, options of the launch, more paths than those of the bundle and the state
PLACES: list[tuple[list[dict[str, t.Any]], dict[str, t.Any], list[str]]] = [
    ([], {}, []),
    ([{"source": "/data", "type": "bind"}], {}, ["/data"]),
    ([{"source": "/data", "type": "none", "options": ["rbind", "ro"]}], {}, ["/data"]),
    ([{"source": "/data/", "options": ["bind"]}, {"source": "/a//b/../c", "options": ["rbind"]}], {}, ["/a/c", "/data"]),
    ([{"source": "tmpfs", "type": "tmpfs"}, {"source": "/dev/sdb", "type": "ext4"}, {"type": "proc"}], {}, []),
    ([{"source": "/srv/b/etc/hosts", "type": "bind", "options": None}], {}, ["/srv/b/etc/hosts"]),
    # The parents of a path are waited for, too.
    ([{"source": "/d", "type": "bind"}, {"source": "/d/e", "type": "bind"}], {}, ["/d/e"]),
    ([{"source": "/d", "type": "bind"}, {"source": "/de", "type": "bind"}], {}, ["/d", "/de"]),
    ([], {"log_path": "/logs/web.log", "conmon_pidfile": "/pids/web", "runtime_root": "/other"}, ["/other", "/logs/web.log", "/pids/web"]),
]  # fmt: skip


@pytest.mark.pure
@pytest.mark.parametrize(("mounts", "options", "places"), PLACES)
def test_the_mounts_that_a_service_waits_for(
    tmp_path: pathlib.Path, mounts: list[dict[str, t.Any]], options: dict[str, t.Any], places: list[str]
) -> None:
    paths = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run").paths("web")
    record = builders.record(definition=Definition("/srv/b", service=True, **options))
    config = {"root": {"path": "/roots/b"}, "mounts": mounts}
    text = service_unit.unit_text(record, paths, 5, config)
    found = next(line for line in text.splitlines() if line.startswith("RequiresMountsFor="))
    own = [paths.state, *(() if any(place.startswith("/srv/b/") for place in places) else ("/srv/b",))]
    wanted = {*own, *places, "/roots/b"}
    assert set(found.partition("=")[2].split()) == {f'"{place}"' for place in wanted}


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
        unit.write_text(service_unit.unit_text(record, store.paths("web"), 5, {}), encoding="utf-8")
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert f"longshore-{number}.service:" not in done.stderr, done.stderr
