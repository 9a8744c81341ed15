# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before anything is touched, and what a launch that failed leaves: nothing."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidOption,
    LongshoreError,
    MissingPrerequisite,
    ProgramFailed,
    Reason,
)
from ansible_collections.longshore.oci.plugins.module_utils._base.files import make_directory, write_text
from ansible_collections.longshore.oci.plugins.module_utils._container import create, rollback
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._host.detect import Host
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import changes
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Desired, Record, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import Phase
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, bundle, programs

# Answers for its version, else does what comes after.
CONMON = """
if sys.argv[1:] == ["--version"]:
    print("conmon version {version}")
    sys.exit(0)
"""


class Place:
    """A host of its own below one directory: a bundle, a runtime that knows nothing, and a scripted conmon."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.store = Store(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        for name in ("bundle", "bin"):
            (directory / name).mkdir()
        self.bundle = bundle.make(directory / "bundle", "true")
        self.runtime = programs.script(
            directory / "bin" / "runc",
            '[ "$1" = --version ] && echo runc version 1.1.5 && exit\necho container does not exist >&2; exit 1',
        )
        self.conmon("")

    def conmon(self, text: str, version: str = "2.1.12") -> None:
        self.monitor = programs.conmon(self.directory / "bin" / "conmon", CONMON.format(version=version) + text)

    def prepare(self, *, name: str = "web", **wanted: t.Any) -> create.Launch:
        values = {"bundle": self.bundle, "runtime": self.runtime, "conmon": self.monitor, "cgroup_manager": "cgroupfs"}
        definition = builders.definition(**{**values, **wanted})
        host = Host(run_dir=self.store.run_dir)
        return create.prepare(self.store, host, Desired(name, definition=definition), definition, None)

    def tree(self) -> list[str]:
        return sorted(os.path.join(top, name) for top, dirs, files in os.walk(self.directory) for name in dirs + files)


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Place:
    return Place(tmp_path)


REFUSED: list[tuple[dict[str, t.Any], str]] = [
    ({"runtime_root": "r"}, "runtime_root must be an absolute path, not 'r'"),
    ({"log_path": "log"}, "log_path must be an absolute path"),
    ({"conmon_env": {"NOTIFY_SOCKET": "/x"}}, "conmon_env cannot have a variable 'NOTIFY_SOCKET'"),
    ({"conmon_env": {"LISTEN_FDS": "1"}}, "conmon_env cannot have a variable 'LISTEN_FDS'"),
    ({"reserve_ports": ("80/x",)}, "the protocol x is none of"),
    ({"listen": ("unix:/nowhere/sock",)}, "directory of the socket /nowhere/sock does not exist"),
    ({"reserve_ports": ("8080", "8000-9000")}, "8080/tcp is given twice"),
    ({"conmon_pidfile": "pid"}, "conmon_pidfile must be an absolute path"),
    ({"cgroup_parent": "longshore"}, "cgroup_parent must be an absolute path"),
    ({"cgroup_parent": "machine.slice"}, "With the cgroup manager cgroupfs, cgroup_parent must be a path"),
    ({"cgroup_parent": "/a/../.."}, "cgroup_parent"),
    ({"cgroup_parent": "a:b.slice"}, "cgroup_parent must be a plain path, not 'a:b.slice'"),
    *[
        ({"log_path": f"{{directory}}/{name}"}, "log_path cannot have a colon")
        for name in (":", "a:b", "a:b:c", ":none", "a:/b", "k8s-file:x")
    ],
    ({"log_path": "/nowhere/log"}, "The directory of the log /nowhere/log does not exist"),
    ({"log_path": "{directory}/bundle"}, "bundle is not a regular file"),
    ({"log_path": "{directory}/fifo"}, "fifo is not a regular file"),
    ({"log_path": "{directory}/dangling"}, "dangling is not a regular file"),
    ({"log_path": "{directory}/log", "log_driver": "none"}, "log_path cannot be used with the log driver none"),
    ({"log_path": "{directory}/log", "log_driver": "journald"}, "log_path cannot be used with the log driver journald"),
    ({"log_tag": "x"}, "log_tag needs the log driver journald"),
    ({"log_size_max": 1, "log_driver": "none"}, "log_size_max needs the log driver k8s-file"),
    ({"exit_delay": 1}, "exit_delay needs exit_command"),
    ({"log_size_max": 2**63}, "log_size_max must be a number of bytes from 0 to 9223372036854775807"),
    ({"log_size_max": -1}, "log_size_max must be a number of bytes"),
    (
        {"exit_delay": 2**31, "exit_command": ("/bin/true",)},
        "exit_delay must be a number of seconds from 0 to 2147483647",
    ),
    ({"exit_delay": -1, "exit_command": ("/bin/true",)}, "exit_delay must be a number of seconds"),
    ({"exit_command": ("/bin/true", "a\udcff")}, "exit_command cannot have an argument that is not UTF-8"),
    ({"exit_command": ("/bin/true", "a\0")}, "exit_command cannot have an argument"),
    ({"exit_command": ("/bin/true", "a" * 131072)}, "exit_command has a word of more than 131071 bytes"),
    ({"runtime_args": ("a" * 140000,)}, "runtime_args has a word of more than"),
    ({"conmon_env": {"A": "\u20ac" * 50000}}, "conmon_env has a word of more than"),
    ({"conmon_pidfile": "/nowhere/pid"}, "The directory of the conmon_pidfile /nowhere/pid does not exist"),
    ({"conmon_pidfile": "{directory}/bundle/x", "log_path": "{directory}/bundle/x"}, "are the same file"),
    ({"runtime": "/nowhere/runc"}, "The runtime /nowhere/runc is not on this host"),
    ({"conmon": "/nowhere/conmon"}, "conmon is not on this host"),
    ({"bundle": "/nowhere"}, "There is no bundle at /nowhere"),
    ({"publish": ("8080:80",)}, "publish needs a network_helper"),
    ({"network_helper": "pasta"}, "needs a container with its own network namespace"),
    ({"name": "x" * 150, "sdnotify": "container"}, "is too long for a socket"),
]
# The script of a service exports them: a shell runs what is no name.
REFUSED += [
    ({"conmon_env": {name: "1"}}, "conmon_env cannot have a variable")
    for name in (
        "", "1A", "A-B", "A.B", "A B", "A=B", "A\nB", "A\0B", "É", "X;touch /srv/pwned;Y", "$(id)", "`id`", "A[1]", "A+", "_OCI_X",
        "-n", "A'", 'A"', "A\\", "A#", "A&", "A|B", "A\u2028",
    )
]  # fmt: skip
REFUSED += [({"conmon_env": {"A": value}}, "conmon_env cannot have a variable 'A'") for value in ("\0", "a\0b")]
CONTROLS = ("\n", "\t", "\r", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\udcff")
# In these the text is a word among others.
WORDS: dict[str, tuple[str, ...]] = {"runtime_args": (), "exit_command": ("x",)}
REFUSED += [
    ({name: (text, *WORDS[name]) if name in WORDS else text}, f"{name} cannot have control characters")
    for name in (
        "bundle", "runtime", "runtime_root", "conmon", "cgroup_parent", "log_path", "log_tag", "conmon_pidfile", *WORDS,
    )
    for text in (f"/srv/a{control}ExecStartPre=/bin/true" for control in CONTROLS)
]  # fmt: skip


@pytest.mark.parametrize("option", ["state_dir", "run_dir"])
@pytest.mark.parametrize("driver", ["k8s-file", "none", "passthrough"])
@pytest.mark.parametrize("name", ["a:b", "a:b:c", ":a", "a/file:/b"])
def test_a_colon_in_a_directory(place: Place, option: str, driver: str, name: str) -> None:
    directories = {"state_dir": f"{place.directory}/state", "run_dir": f"{place.directory}/run"}
    place.store = Store(**{**directories, option: f"{place.directory}/{name}"})
    before = place.tree()
    with pytest.raises(InvalidOption, match=f"^{option} cannot have a colon"):
        place.prepare(log_driver=driver)
    assert place.tree() == before


def test_a_log_that_conmon_does_not_open_may_have_a_colon(place: Place) -> None:
    path = f"{place.directory}/a:b.log"
    assert place.prepare(log_driver="passthrough", log_path=path).record.log_path == path


@pytest.mark.parametrize(("wanted", "says"), REFUSED)
def test_bad_input_is_refused_before_anything_is_touched(place: Place, wanted: dict[str, t.Any], says: str) -> None:
    os.mkfifo(place.directory / "fifo")
    os.symlink("nowhere", place.directory / "dangling")
    before = place.tree()
    given = {
        name: value.format(directory=place.directory) if isinstance(value, str) else value
        for name, value in wanted.items()
    }
    with pytest.raises((InvalidOption, MissingPrerequisite)) as caught:
        place.prepare(**given)
    assert says in caught.value.message
    assert place.tree() == before


@pytest.mark.parametrize("name", ["A", "_", "_a1", "PATH", "a_B_9", "LD_PRELOAD"])
@pytest.mark.parametrize("value", ["", "x y", "two\nlines", "$(id) `id` \"'\\%", "é"])
def test_variables_of_conmon(place: Place, name: str, value: str) -> None:
    assert place.prepare(conmon_env={name: value}).record.definition.conmon_env == {name: value}


def test_arguments_of_the_exit_command_may_be_a_script(place: Place) -> None:
    command = ("/bin/sh", "-c", "echo one\necho\ttwo")
    assert place.prepare(exit_command=command).record.definition.exit_command == command


@pytest.mark.parametrize(
    ("version", "refused"),
    [("runc version 1.1.5", True), ("runsc version release-1", False), ("kata-runtime version 3.2.0", False),
     ("youki version 0.3.3", False)],
)  # fmt: skip
def test_only_the_kernel_of_this_host_is_asked_about_a_program(place: Place, version: str, refused: bool) -> None:
    """Another runtime may have a kernel of its own, such as that of a virtual machine."""
    program = pathlib.Path(place.bundle, "rootfs/app")
    program.write_bytes(b"#!/no/such\n")
    program.chmod(0o755)
    document = pathlib.Path(place.bundle, "config.json")
    document.write_text(document.read_text().replace('["true"]', '["/app"]'))
    programs.script(place.directory / "bin" / "runc", f'[ "$1" = --version ] && echo "{version}" && exit\nexit 1')
    with pytest.raises(InvalidOption, match="cannot be executed") if refused else contextlib.nullcontext():
        place.prepare()


@pytest.mark.parametrize("name", ["runsc", "youki", "runc"])
def test_a_runtime_without_a_driver_gets_no_recursive_options(place: Place, name: str) -> None:
    """And a container that has such a config is as it should be."""
    document = pathlib.Path(place.bundle, "config.json")
    mount = {"destination": "/d", "type": "bind", "source": str(place.directory), "options": ["rbind", "ro", "rro"]}
    made = json.loads(document.read_text())
    document.write_text(json.dumps({**made, "mounts": [*made["mounts"], mount]}))
    programs.script(
        place.directory / "bin" / "runc", f'[ "$1" = --version ] && echo "{name} version 1.1.5" && exit\nexit 1'
    )
    launch = place.prepare()
    assert launch.config["mounts"][-1]["options"] == ["rbind", "ro", *(["rro"] if name == "runc" else [])]
    paths = place.store.paths("web")
    make_directory(paths.state)
    write_text(paths.config, json.dumps(launch.config))
    wanted = launch.record.definition
    assert changes.compare(place.store, Desired("web", definition=wanted), wanted, launch.record)[0] == {}


@pytest.mark.parametrize("name", ["\U0001f600" * 1100, "\u20ac" * 1400, "/" + "a" * 4095])
def test_a_path_is_as_long_as_its_bytes(place: Place, name: str) -> None:
    document = pathlib.Path(place.bundle, "config.json")
    document.write_text(document.read_text().replace('["true"]', json.dumps([name])))
    with pytest.raises(InvalidOption, match="A path has at most 4095"):
        place.prepare()


def test_an_option_that_conmon_lacks_is_refused(place: Place) -> None:
    place.conmon("", version="2.0.2")
    with pytest.raises(MissingPrerequisite, match=r"sdnotify needs conmon 2\.0\.22 or newer; this host has 2\.0\.2\."):
        place.prepare(sdnotify="container")


def test_a_bundle_of_another_container_is_refused(place: Place) -> None:
    make_directory(place.store.paths("db").state)
    place.store.save(builders.record(name="db", definition=builders.definition(bundle=place.bundle)))
    place.store.claim_bundle(place.bundle, "db")
    with pytest.raises(Conflict, match="in use by the container db"):
        place.prepare()


def test_a_container_of_somebody_else_in_the_same_root_is_refused(place: Place) -> None:
    os.makedirs(f"{place.store.run_dir}/runc/web")
    pathlib.Path(place.store.run_dir, "runc/web/state.json").write_text(
        '{"config": {"labels": ["bundle=/srv/theirs"]}}'
    )
    with pytest.raises(
        Conflict, match=r"runc already has a container web in .*/run/runc, which Longshore has not created"
    ):
        place.prepare()


def test_a_runtime_that_is_broken_is_refused(place: Place) -> None:
    programs.script(place.directory / "bin" / "runc", "exit 1")
    with pytest.raises(MissingPrerequisite, match="runc cannot be used"):
        place.prepare()


def test_what_is_prepared(place: Place) -> None:
    launch = place.prepare(cgroup_parent="/parent", sdnotify="container")
    assert launch.record.phase is Phase.CREATING
    assert launch.record.runtime_root == f"{place.store.run_dir}/runc"
    assert launch.record.log_path == place.store.paths("web").log
    assert (launch.record.stop_signal, launch.record.stop_timeout) == (15, 10)
    assert launch.config["linux"]["cgroupsPath"] == f"/parent/web@{launch.record.realm}"
    assert launch.config["root"]["path"] == f"{place.bundle}/rootfs"


class TestFailure:
    @pytest.fixture(autouse=True)
    def parent(self, scratch_cgroup: str) -> t.Iterator[str]:
        yield scratch_cgroup
        cgroup_removal.remove(scratch_cgroup)

    def _create(
        self, place: Place, parent: str, *, previous: Record | None = None, seconds: float = 30
    ) -> LongshoreError:
        launch = place.prepare(cgroup_parent=parent)
        with pytest.raises((ProgramFailed, DeadlineExceeded)) as caught:
            create.create(place.store, launch, previous=previous, timeouts=Timeouts(create=seconds))
        return caught.value

    def _nothing_is_left(self, place: Place, parent: str) -> None:
        assert place.store.load("web") is None
        assert not os.path.exists(place.store.paths("web").state)
        assert not os.path.exists(place.store.paths("web").run)
        assert os.listdir(f"{place.store.state_dir}/bundles") == []
        assert cgroup.directories(f"{parent}/web") == []

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("""os.read(start, 1); report('{"data": -1, "message": "no such luck"}\\n')""", ": no such luck."),
            ("os.read(start, 1); sys.exit('bad option')", ": bad option."),
            ("os.read(start, 1)", ": the runtime ended without a message."),
            ("os.read(start, 1); report('nonsense')", "conmon reported 'nonsense', which is not understood"),
        ],
    )
    def test_of_a_launch_leaves_nothing(self, place: Place, parent: str, text: str, says: str) -> None:
        place.conmon(text)
        error = self._create(place, parent)
        assert error.message.startswith("Cannot create the container web: ")
        assert says in error.message
        self._nothing_is_left(place, parent)

    def test_the_log_of_the_runtime_says_most(self, place: Place, parent: str) -> None:
        place.conmon(
            """
os.read(start, 1)
log = [word for word in sys.argv if word.endswith("runtime.log")][0].partition("=")[2]
open(log, "w").write('{"level": "error", "msg": "the reason"}\\n')
report('{"data": -1, "message": "less of it"}\\n')
"""
        )
        error = self._create(place, parent)
        assert error.message == "Cannot create the container web: the reason."
        assert error.details["runtime_log"] == ['{"level": "error", "msg": "the reason"}']

    def test_of_a_conmon_that_hangs(self, place: Place, parent: str) -> None:
        place.conmon("signal.pause()")
        error = self._create(place, parent, seconds=0.5)
        assert "conmon and the runtime did not report in time" in error.message
        self._nothing_is_left(place, parent)

    def test_the_previous_container_is_remembered(self, place: Place, parent: str) -> None:
        """It has been removed already, and can be made again from its record."""
        paths = place.store.paths("web")
        make_directory(paths.state)
        previous = builders.record(phase="removed", definition=builders.definition(bundle=place.bundle))
        place.store.save(previous)
        write_text(paths.config, '{"of": "before"}')
        place.conmon("os.read(start, 1)")
        self._create(place, parent, previous=previous)
        assert place.store.load("web") == previous
        assert place.store.load_config("web") == {"of": "before"}
        assert not os.path.exists(paths.run)


@pytest.mark.parametrize(
    "name", ["log_path", "conmon_pidfile", "runtime_root", "exit_command", "runtime", "conmon", "hooks", "root"]
)
def test_what_another_user_can_change_is_refused(place: Place, name: str) -> None:
    path = place.directory / "theirs" / "thing"
    path.parent.mkdir()
    if name not in ("log_path", "conmon_pidfile", "runtime_root"):
        programs.script(path, "exit 0")
    os.chown(path.parent, 4242, 4242)
    before = place.tree()
    wanted: dict[str, t.Any] = {name: (str(path),) if name == "exit_command" else str(path)}
    if name in ("hooks", "root"):
        wanted = {}
        config_json = pathlib.Path(place.bundle, "config.json")
        text = json.loads(config_json.read_text())
        if name == "hooks":
            text["hooks"] = {"startContainer": [{"path": "/x"}], "createRuntime": [{"path": str(path)}]}
        else:
            (path.parent / "root").mkdir()
            text["root"]["path"] = f"{path.parent}/root"
        config_json.write_text(json.dumps(text))
        before = place.tree()
    with pytest.raises(InvalidOption, match="can be changed by users other than root"):
        place.prepare(**wanted)
    assert place.tree() == before


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (Reason.UNREPORTED, "conmon ended before the network was connected: it has no memory."),
        (Reason.REPORTED, "conmon ended before the network was connected."),
    ],
)
def test_a_failed_network_helper_is_explained(place: Place, reason: Reason, says: str) -> None:
    """By conmon, where it is conmon that ended: the helper knows nothing of it."""
    record = place.prepare().record
    paths = place.store.paths("web")
    os.makedirs(paths.run)
    pathlib.Path(paths.conmon_log).write_text("it has no memory\n")
    exc = ProgramFailed("conmon ended before the network was connected.", reason=reason, network_log=[])
    failure = rollback.roll_back(place.store, record, None, None, exc, Timeouts())
    assert isinstance(failure, ProgramFailed)
    assert failure.message == f"Cannot create the container web: {says}"


@pytest.mark.parametrize("text", ["", "hello\n", "12 13", "-1", "1" * 65, "\0", "12\nx", " "])
def test_a_file_that_is_not_a_pid_file_is_not_written_over(place: Place, text: str) -> None:
    path = place.directory / "file"
    path.write_text(text)
    before = place.tree()
    with pytest.raises(InvalidOption, match="exists, and is not a pid file"):
        place.prepare(conmon_pidfile=str(path))
    assert place.tree() == before
    assert path.read_text() == text


@pytest.mark.parametrize("name", ["log_path", "conmon_pidfile"])
def test_a_file_of_conmon_is_not_made_where_others_could_make_it(place: Place, name: str) -> None:
    (place.directory / "shared").mkdir()
    (place.directory / "shared").chmod(0o1777)
    with pytest.raises(InvalidOption, match="shared belongs to root:root, with the mode 1777"):
        place.prepare(**{name: f"{place.directory}/shared/file"})
    (place.directory / "link").symlink_to("real")
    (place.directory / "real").touch()
    with pytest.raises(InvalidOption, match="is not a regular file"):
        place.prepare(**{name: f"{place.directory}/link"})
