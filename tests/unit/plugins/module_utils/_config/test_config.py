# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import copy
import json
import os
import pathlib
import random
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._config import config, config_differences
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Desired, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.fixture
def bundle(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "rootfs").mkdir()
    return tmp_path


def _write(bundle: pathlib.Path, value: t.Any) -> None:
    (bundle / "config.json").write_text(json.dumps(value), encoding="utf-8")


def _process(**changes: t.Any) -> dict[str, t.Any]:
    return builders.config(process={**builders.config()["process"], **changes})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "it has no ociVersion"),
        ("text", "it has no ociVersion"),
        ({}, "it has no ociVersion"),
        (builders.config(ociVersion=1), "it has no ociVersion"),
        (builders.config(root="rootfs"), "root must be an object"),
        (builders.config(process=["sleep"]), "process must be an object"),
        (builders.config(linux=["pid"]), "linux must be an object"),
        (builders.config(annotations=["a"]), "annotations must be an object"),
        (builders.config(root={}), "names no root file system (root.path)"),
        (builders.config(root=None), "names no root file system (root.path)"),
        (builders.config(root={"path": 5}), "names no root file system (root.path)"),
        (builders.config(root={"path": ""}), "names no root file system (root.path)"),
        (builders.config(process=None), "names no program to run"),
        (_process(args=None), "names no program to run"),
        (_process(args=[]), "names no program to run"),
        (_process(args="sleep 60"), "names no program to run"),
        (_process(args=["sleep", 60]), "names no program to run"),
        (_process(cwd="tmp"), "process.cwd must be an absolute path"),
        (_process(cwd=None), "process.cwd must be an absolute path"),
        (_process(env="A=1"), "process.env"),
        (_process(env=[1]), "process.env"),
        (builders.config(mounts={"destination": "/a"}), "mounts"),
        (builders.config(mounts=["/a"]), "mounts"),
        (builders.config(mounts=[{"destination": "/a", "options": 1}]), "mounts"),
        (builders.config(mounts=[{"destination": "/a", "type": "bind", "source": 1}]), "mounts"),
        (builders.config(root={"path": "nowhere"}), "nowhere of the bundle does not exist"),
    ],
)
def test_what_no_runtime_takes_is_refused_in_one_sentence(bundle: pathlib.Path, value: t.Any, says: str) -> None:
    _write(bundle, value)
    with pytest.raises(InvalidOption) as caught:
        config.read_bundle(str(bundle))
    assert says in caught.value.message
    assert str(bundle) in caught.value.message
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


def test_a_relative_bundle_is_refused(bundle: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.parent)
    _write(bundle, builders.config())
    with pytest.raises(InvalidOption, match="must be given as an absolute path"):
        config.read_bundle(bundle.name)


def test_a_missing_bundle_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InvalidOption, match=r"There is no bundle at .*/nowhere"):
        config.read_bundle(f"{tmp_path}/nowhere")


def test_a_missing_config_is_refused_with_a_way_out(bundle: pathlib.Path) -> None:
    with pytest.raises(InvalidOption, match=r"has no config\.json\. 'runc spec' makes one"):
        config.read_bundle(str(bundle))


@pytest.mark.impure
@pytest.mark.parametrize(
    ("name", "owner", "mode", "fine"),
    [
        (".", 0, 0o755, True), (".", 4242, 0o755, False), (".", 0, 0o775, False), (".", 0, 0o1777, False),
        ("config.json", 4242, 0o644, False), ("config.json", 0, 0o664, False), ("config.json", 0, 0o640, True),
        ("..", 4242, 0o755, False), ("..", 0, 0o777, False), ("..", 0, 0o1777, True),
    ],
)  # fmt: skip
def test_a_bundle_that_another_user_can_change_is_refused(
    tmp_path: pathlib.Path, name: str, owner: int, mode: int, fine: bool
) -> None:
    bundle = tmp_path / "parent" / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    _write(bundle, builders.config())
    os.chown(bundle / name, owner, 0)
    (bundle / name).chmod(mode)
    with (
        contextlib.nullcontext()
        if fine
        else pytest.raises(InvalidOption, match="can be changed by users other than root")
    ):
        config.read_bundle(str(bundle))


@pytest.mark.parametrize("maps", [None, 5, "text", [5], [{}], [{"hostID": "x", "size": 1}]])
def test_mappings_that_are_none_mean_nothing(bundle: pathlib.Path, maps: t.Any) -> None:
    config.check_root({"root": {"path": f"{bundle}/rootfs"}, "linux": {"uidMappings": maps}})


@pytest.mark.parametrize("text", [b"{", b"", b'{"a": "\xff"}', b"\x00"])
def test_a_broken_config_is_refused(bundle: pathlib.Path, text: bytes) -> None:
    (bundle / "config.json").write_bytes(text)
    with pytest.raises(InvalidOption, match=r"config\.json cannot be read: "):
        config.read_bundle(str(bundle))


def _put(path: str, text: str, size: int | None = None) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.truncate(size)


@pytest.mark.impure
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "it is not a regular file"),
        (lambda path: os.symlink("/dev/zero", path), "/dev/zero belongs to root:root, with the mode 0666"),
        (lambda path: os.symlink("/dev/full", path), "/dev/full belongs to root:root, with the mode 0666"),
        (lambda path: _put(path, "", 3 << 30), "it is larger than 16777216 bytes"),
        (lambda path: _put(path, "[" * 100000), "config.json cannot be read: "),
        (lambda path: _put(path, '{"a": ' + "9" * 5000 + "}"), "config.json"),
    ],
)
def test_one_that_would_never_end_is_refused(bundle: pathlib.Path, make: t.Callable[[str], object], says: str) -> None:
    make(f"{bundle}/config.json")
    with pytest.raises(InvalidOption, match=says):
        config.read_bundle(str(bundle))


def test_a_directory_in_the_place_of_the_config_is_refused(bundle: pathlib.Path) -> None:
    (bundle / "config.json").mkdir()
    with pytest.raises(InvalidOption, match=r"Cannot read .*/config\.json: Is a directory"):
        config.read_bundle(str(bundle))


def test_a_file_in_the_place_of_the_root_file_system_is_refused(bundle: pathlib.Path) -> None:
    (bundle / "file").write_text("", encoding="utf-8")
    _write(bundle, builders.config(root={"path": "file"}))
    with pytest.raises(InvalidOption, match="file of the bundle does not exist"):
        config.read_bundle(str(bundle))


@pytest.mark.parametrize("path", ["rootfs", "./rootfs/", "../{name}/rootfs", "{bundle}/rootfs"])
def test_the_root_path_is_made_absolute(bundle: pathlib.Path, path: str) -> None:
    _write(bundle, builders.config(root={"path": path.format(name=bundle.name, bundle=bundle)}))
    assert config.read_bundle(str(bundle))["root"]["path"] == f"{bundle}/rootfs"


def test_sources_of_binds_are_made_absolute_and_no_others(bundle: pathlib.Path) -> None:
    mounts = [
        {"destination": "/a", "type": "bind", "source": "data"},
        {"destination": "/b", "type": "none", "source": "data", "options": ["rbind"]},
        {"destination": "/c", "source": "data", "options": ["bind", "ro"]},
        {"destination": "/d", "type": "bind", "source": "/srv/data"},
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid"]},
    ]
    _write(bundle, builders.config(mounts=mounts))
    sources = [mount["source"] for mount in config.read_bundle(str(bundle))["mounts"]]
    assert sources == [f"{bundle}/data"] * 3 + ["/srv/data", "proc", "shm"]


def test_reading_changes_nothing_in_the_bundle(bundle: pathlib.Path) -> None:
    _write(bundle, builders.config())
    before = (bundle / "config.json").read_bytes()
    config.read_bundle(str(bundle))
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]
    assert (bundle / "config.json").read_bytes() == before


PATHS = Paths("web", state_dir="/s", run_dir="/r")
CGROUP = "/longshore/web"


def _effective(given: config.Config, *, manager: str = "cgroupfs", name: str = "web", **wanted: t.Any) -> config.Config:
    record = builders.record(name=name, cgroup_manager=manager, definition=builders.definition(**wanted))
    return config.effective(given, record, PATHS)


class TestEffective:
    def test_the_cgroup_is_ours(self) -> None:
        given = builders.config(linux={"cgroupsPath": "/theirs", "namespaces": [{"type": "pid"}]})
        assert _effective(given) == {**given, "linux": {"cgroupsPath": CGROUP, "namespaces": [{"type": "pid"}]}}

    @pytest.mark.parametrize("linux", [{}, {"linux": None}])
    def test_linux_may_be_missing(self, linux: dict[str, t.Any]) -> None:
        assert _effective(builders.config(**linux))["linux"] == {"cgroupsPath": CGROUP}

    def test_the_notify_socket_is_mounted_and_named(self) -> None:
        found = _effective(builders.config(), sdnotify="container")
        assert found["process"]["env"] == ["PATH=/usr/bin:/bin", "NOTIFY_SOCKET=/run/notify/notify.sock"]
        assert found["mounts"] == [
            {
                "destination": "/run/notify",
                "type": "bind",
                "source": PATHS.notify,
                "options": ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"],
            }
        ]

    def test_what_was_there_of_a_notify_socket_is_replaced(self) -> None:
        given = _process(env=["NOTIFY_SOCKET=/theirs", "A=1"])
        given["mounts"] = [{"destination": "/run/notify", "source": "/theirs"}, {"destination": "/proc"}]
        found = _effective(given, sdnotify="container")
        assert found["process"]["env"] == ["A=1", "NOTIFY_SOCKET=/run/notify/notify.sock"]
        sources = [(mount["destination"], mount.get("source")) for mount in found["mounts"]]
        assert sources == [("/proc", None), ("/run/notify", PATHS.notify)]

    def test_sockets_are_announced_as_systemd_does_it(self) -> None:
        found = _effective(builders.config(), listen=("80", "admin=unix:/run/admin.sock"), sdnotify="container")
        assert found["process"]["env"] == [
            "PATH=/usr/bin:/bin", "LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_FDNAMES=web:admin",
            "NOTIFY_SOCKET=/run/notify/notify.sock",
        ]  # fmt: skip
        assert _effective(found, listen=("81",))["process"]["env"][-3:] == [
            "LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=web"
        ]  # fmt: skip
        assert not [word for word in _effective(found)["process"]["env"] if word.startswith("LISTEN_")]

    def test_without_one_the_config_keeps_its_own(self) -> None:
        given = _process(env=["NOTIFY_SOCKET=/theirs"])
        assert _effective(given)["process"] == given["process"]

    @pytest.mark.impure
    def test_the_hook_of_a_network_helper(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not for root, once, after those of the config, and gone when another definition has no helper."""
        given = builders.config(
            hooks={
                "createContainer": [{"path": "/theirs", "env": ["A=1"]}],
                "poststop": [{"path": "/last", "env": ["A=1"]}],
            }
        )
        assert _effective(given, network_helper="pasta")["hooks"] == given["hooks"]
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        found = _effective(given, network_helper="pasta")
        assert [hook["path"] for hook in found["hooks"]["createContainer"]] == ["/theirs", "/bin/sh"]
        assert found["hooks"]["createContainer"][1]["args"][-2:] == [PATHS.network_asks, PATHS.network_answer]
        assert _effective(found, network_helper="pasta") == found
        assert _effective(found)["hooks"] == given["hooks"]
        assert "hooks" not in _effective(builders.config())

    @pytest.mark.parametrize("sdnotify", ["ignore", "container"])
    def test_twice_is_the_same_as_once(self, sdnotify: str) -> None:
        """A recorded config is effective already, and a container is made anew from it."""
        once = _effective(builders.config(), sdnotify=sdnotify)
        assert _effective(once, sdnotify=sdnotify) == once

    def test_the_given_config_stays_as_it_is(self) -> None:
        given = builders.config(linux={"namespaces": []}, mounts=[{"destination": "/proc"}])
        before = copy.deepcopy(given)
        _effective(given, sdnotify="container")
        assert given == before


@pytest.mark.parametrize(
    ("manager", "uid", "wanted", "parent", "path"),
    [
        ("cgroupfs", 0, None, "/longshore", "/longshore/a+b"),
        ("cgroupfs", 1000, None, "/longshore", "/longshore/a+b"),
        ("cgroupfs", 0, "/x", "/x", "/x/a+b"),
        ("systemd", 0, None, "machine.slice", "machine.slice:longshore:a\\x2bb"),
        ("systemd", 1000, None, "user.slice", "user.slice:longshore:a\\x2bb"),
        ("systemd", 0, "a.slice", "a.slice", "a.slice:longshore:a\\x2bb"),
    ],
)
def test_where_the_cgroup_is(
    monkeypatch: pytest.MonkeyPatch, manager: str, uid: int, wanted: str | None, parent: str, path: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    record = builders.record(cgroup_manager=manager, definition=builders.definition(cgroup_parent=wanted))
    assert names.cgroup_parent(record) == parent
    found = _effective(builders.config(), manager=manager, name="a+b", cgroup_parent=wanted)
    assert found["linux"]["cgroupsPath"] == path


def test_units_of_all_containers_are_different() -> None:
    containers = ["web", "conmon", "conmon-web", "a+b", "ax2bb", "a-b"]
    makers = (names.container_unit, names.conmon_unit, names.service_unit)
    units = [make(name, realm) for name in containers for make in makers for realm in ("", "01234567", "conmon")]
    assert len(set(units)) == len(units)
    assert names.container_unit("a+b", "") == "longshore-a\\x2bb.scope"
    assert names.container_unit("web", "01234567") == "longshore.01234567-web.scope"


def test_cgroups_of_two_state_directories_are_different() -> None:
    records = [builders.record(name=name, realm=realm) for name in ("a", "a.01234567") for realm in ("", "01234567")]
    made = [make(record) for record in records for make in (names.container_cgroup, names.conmon_cgroup)]
    assert len(set(made)) == len(made)
    assert made[2:4] == ["/longshore/a@01234567", "/longshore/conmon:a@01234567"]


QUIT = builders.config(annotations={"org.opencontainers.image.stopSignal": "SIGQUIT"})


@pytest.mark.parametrize(
    ("desired", "source", "recorded", "expected"),
    [
        # With a bundle the task says it all, whatever was before.
        ({"definition": builders.definition()}, builders.config(), False, (15, 10)),
        ({"definition": builders.definition()}, builders.config(), True, (15, 10)),
        ({"definition": builders.definition()}, QUIT, True, (3, 10)),
        ({"definition": builders.definition(), "stop_signal": 2}, QUIT, True, (2, 10)),
        ({"definition": builders.definition(), "timeouts": Timeouts(stop=0)}, builders.config(), True, (15, 0)),
        # Without one it is for this time only.
        ({}, QUIT, True, (6, 7)),
        ({"stop_signal": 2, "timeouts": Timeouts(stop=0)}, QUIT, True, (6, 7)),
    ],
)
def test_stop_settings(desired: t.Any, source: t.Any, recorded: bool, expected: tuple[int, float]) -> None:
    record = builders.record(stop_signal=6, stop_timeout=7.0) if recorded else None
    assert config.stop_settings(Desired("web", **desired), source, record) == expected


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, "TERM"),
        ({"annotations": None}, "TERM"),
        ({"annotations": {"org.opencontainers.image.stopSignal": ""}}, "TERM"),
        ({"annotations": {"org.opencontainers.image.stopSignal": "SIGQUIT"}}, "SIGQUIT"),
    ],
)
def test_default_stop_signal(annotations: dict[str, t.Any], expected: str) -> None:
    assert config.default_stop_signal(builders.config(**annotations)) == expected


# What means the same, whatever it looks like.
EQUAL: list[tuple[t.Any, t.Any]] = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"hooks": {}}, {}),
    ({"mounts": []}, {}),
    ({"root": {"path": "r", "readonly": None}}, {"root": {"path": "r"}}),
    ({"linux": {"resources": {"memory": {}}}}, {}),
    ({"process": {"capabilities": {"bounding": ["A", "B"]}}}, {"process": {"capabilities": {"bounding": ["B", "A"]}}}),
    ({"linux": {"maskedPaths": ["/a", "/b"]}}, {"linux": {"maskedPaths": ["/b", "/a"]}}),
    ({"process": {"user": {"additionalGids": [10, 9]}}}, {"process": {"user": {"additionalGids": [9, 10]}}}),
    (
        {"linux": {"namespaces": [{"type": "pid"}, {"type": "ipc", "path": "/x"}]}},
        {"linux": {"namespaces": [{"path": "/x", "type": "ipc"}, {"type": "pid"}]}},
    ),
    ({"process": {"env": ["A=1", "B=2"]}}, {"process": {"env": ["B=2", "A=1"]}}),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_what_means_the_same_is_no_difference(one: t.Any, other: t.Any) -> None:
    assert config_differences.differences(one, other) == {}
    assert config.digest(one) == config.digest(other)


def _rules(*rules: tuple[bool, str]) -> dict[str, t.Any]:
    return {"linux": {"resources": {"devices": [{"allow": allow, "access": access} for allow, access in rules]}}}


# Before, after, and the difference by JSON path.
DIFFERENT: list[tuple[t.Any, t.Any, dict[str, tuple[t.Any, t.Any]]]] = [
    ({"a": {"b": 1}}, {"a": {"b": 2}}, {"a.b": (1, 2)}),
    ({"a": {"b": 1}}, {}, {"a.b": (1, None)}),
    ({}, {"a": {"b": 1}}, {"a.b": (None, 1)}),
    ({"root": {"readonly": True}}, {"root": {"readonly": 1}}, {"root.readonly": (True, 1)}),
    ({"a": 0}, {"a": False}, {"a": (0, False)}),
    ({"a": 0}, {}, {"a": (0, None)}),
    ({"process": {"args": ["a", "b"]}}, {"process": {"args": ["b", "a"]}},
     {"process.args[0]": ("a", "b"), "process.args[1]": ("b", "a")}),
    ({"mounts": [{"source": "/a"}]}, {"mounts": [{"source": "/a"}, {"source": "/b"}]},
     {"mounts[1].source": (None, "/b")}),
    # One more at the front is one difference, not one for each.
    ({"linux": {"namespaces": [{"type": "pid"}]}}, {"linux": {"namespaces": [{"type": "ipc"}, {"type": "pid"}]}},
     {"linux.namespaces.[ipc].type": (None, "ipc")}),
    ({"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1}]}},
     {"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 2}]}},
     {"process.rlimits.[RLIMIT_NOFILE].hard": (1, 2)}),
    ({"process": {"capabilities": {"bounding": ["B"]}}}, {"process": {"capabilities": {"bounding": ["A", "B"]}}},
     {"process.capabilities.bounding[0]": ("B", "A"), "process.capabilities.bounding[1]": (None, "B")}),
    # Rules for devices have no path, and the last that fits wins: neither the first nor the order may get lost.
    (_rules((False, "rwm"), (True, "r")), _rules((True, "rwm"), (True, "r")),
     {"linux.resources.devices[0].allow": (False, True)}),
    (_rules((False, "rw"), (True, "rw")), _rules((True, "rw"), (False, "rw")),
     {"linux.resources.devices[0].allow": (False, True), "linux.resources.devices[1].allow": (True, False)}),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "expected"), DIFFERENT)
def test_differences(before: t.Any, after: t.Any, expected: t.Any) -> None:
    assert config_differences.differences(before, after) == expected
    assert config.digest(before) != config.digest(after)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["A=secret"], ["A=changed"], {"process.env.A": ("(hidden)", "(hidden, new)")}),
        (["A=secret"], [], {"process.env.A": ("(hidden)", None)}),
        ([], ["A=secret"], {"process.env.A": (None, "(hidden)")}),
        (["B=2"], ["A=secret", "B=2"], {"process.env.A": (None, "(hidden)")}),
        (["A=x=secret"], ["A=x=changed"], {"process.env.A": ("(hidden)", "(hidden, new)")}),
    ],
)
def test_environments_go_by_name_and_show_no_value(before: t.Any, after: t.Any, expected: t.Any) -> None:
    found = config_differences.differences({"process": {"env": before}}, {"process": {"env": after}})
    assert found == expected
    assert "secret" not in str(found)


def test_the_environment_of_a_hook_shows_no_value_either() -> None:
    def hook(value: str) -> dict[str, t.Any]:
        return {"hooks": {"prestart": [{"path": "/bin/true", "env": [f"TOKEN={value}"]}]}}

    assert config_differences.differences(hook("secret"), hook("changed")) == {
        "hooks.prestart[0].env.TOKEN": ("(hidden)", "(hidden, new)")
    }


def test_the_digest_is_that_of_the_meaning() -> None:
    given = builders.config(annotations={str(number): str(number) for number in range(20)})
    keys = list(given)
    random.Random(1).shuffle(keys)
    assert config.digest({key: given[key] for key in keys}) == config.digest(given)
    assert config.digest(given).startswith("sha256:")
    assert len(config.digest(given)) == len("sha256:") + 64
