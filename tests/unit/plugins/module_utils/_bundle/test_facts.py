# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a root file system that nobody trusts, and what the host says."""

from __future__ import annotations

import os
import pathlib
import re

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    AbsentFile,
    InvalidOption,
    MissingPrerequisite,
)
from ansible_collections.longshore.oci.plugins.module_utils._bundle import confinement, facts
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import BundleRecord, Options, Request
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store

pytestmark = pytest.mark.pure

PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1000:100::/home/app:/bin/sh\nbroken\nodd:x:notanumber:0::/:/x\n"
GROUP = "root:x:0:\nusers:x:100:\nwheel:x:10:app,other\nmore:x:20:other,app\n"


@pytest.fixture
def root(tmp_path: pathlib.Path) -> str:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    (tmp_path / "etc" / "group").write_text(GROUP)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "user"),
    [
        ("", User(0, 0, (), "/root")),
        ("app", User(1000, 100, (10, 20), "/home/app")),
        ("1000", User(1000, 100, (10, 20), "/home/app")),
        ("app:wheel", User(1000, 10, (), "/home/app")),
        ("app:", User(1000, 100, (10, 20), "/home/app")),
        ("app:7", User(1000, 7, (), "/home/app")),
        ("4711", User(4711, 0, (), "/")),
        ("4711:4712", User(4711, 4712, (), "/")),
    ],
)
def test_users(root: str, wanted: str, user: User) -> None:
    assert facts.look_up(root, wanted) == user


@pytest.mark.parametrize("wanted", ["nobody", "odd", "app:nothing", "-1", "4294967295", "\u0661"])
def test_unknown_users(root: str, wanted: str) -> None:
    with pytest.raises(InvalidOption, match=r"There is no (user|group)"):
        facts.look_up(root, wanted)


@pytest.mark.impure
def test_a_link_that_leads_out_of_the_root_is_not_followed(root: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "passwd"
    outside.write_text("secret:x:5:5::/:/bin/sh\n")
    os.unlink(f"{root}/etc/passwd")
    for target in (str(outside), os.path.relpath(outside, f"{root}/etc")):
        os.symlink(target, f"{root}/etc/passwd")
        with pytest.raises(InvalidOption):
            facts.look_up(root, "secret")
        os.unlink(f"{root}/etc/passwd")
    os.makedirs(f"{root}/nix/store")
    os.rename(f"{root}/etc/group", f"{root}/nix/store/passwd")
    os.symlink("/nix/store/passwd", f"{root}/etc/group")
    assert facts.inside(root, "etc/group") == f"{root}/nix/store/passwd"
    os.rename(f"{root}/nix/store/passwd", f"{root}/etc/group")
    os.symlink("group", f"{root}/etc/passwd")
    assert facts.inside(root, "etc/passwd") == f"{root}/etc/group"


@pytest.mark.impure
@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/etc/passwd", "/etc/passwd"), ("/no/such", "/no/such"), ("/", "/"), ("//etc/./x/..", "/etc"), ("/..", "/"),
        ("/kernel", "/proc"), ("/kernel/sys", "/proc/sys"), ("/absolute/x", "/proc/x"), ("/up", "/sys"), ("/deep/link", "/dev"),
        ("/chain", "/proc"), ("/circle", None), ("/circle/x", None), ("/etc/passwd/x", "/etc/passwd/x"), ("/top/proc", "/proc"),
        ("/kernel/../sys", "/sys"),
    ],
)  # fmt: skip
def test_where_a_path_leads_inside(root: str, path: str, to: str | None) -> None:
    links = {
        "kernel": "proc", "absolute": "/proc", "up": "../../../../sys", "deep/link": "../dev", "chain": "kernel/.", "circle": "circle",
        "top": "/",
    }  # fmt: skip
    os.mkdir(f"{root}/deep")
    for name, target in links.items():
        os.symlink(target, f"{root}/{name}")
    assert facts.leads_to(root, path) == to


@pytest.mark.parametrize("number", ["9" * 4301, "0" * 4301, "\u0661", "1\0", "", "1" * 33, "+1", "1_0", " 1"])
def test_numbers_that_are_none_are_no_error_of_ours(root: str, number: str) -> None:
    for path, line in (("passwd", f"odd:x:{number}:{number}::/:/x\n"), ("group", f"odd:x:{number}:odd\n")):
        with open(f"{root}/etc/{path}", "w", encoding="utf-8") as stream:
            stream.write(f"{line}app:x:1000:10:app:/home/app:/x\n")
    assert facts.look_up(root, "1000").uid == 1000
    for wanted in ("odd", number or "-", f"app:{number or 'x'}"):
        with pytest.raises(InvalidOption, match=r"There is no (user|group)"):
            facts.look_up(root, wanted)


@pytest.mark.parametrize("home", ["", "/a\0b", "/" + "a" * 5000])
def test_a_home_that_no_variable_can_hold(root: str, home: str) -> None:
    with open(f"{root}/etc/passwd", "w", encoding="utf-8") as stream:
        stream.write(f"app:x:1000:10::{home}:/x\n")
    assert facts.look_up(root, "app:10").home == facts.look_up(root, "app").home == "/"


def test_a_fifo_holds_nobody_up(root: str) -> None:
    os.unlink(f"{root}/etc/passwd")
    os.mkfifo(f"{root}/etc/passwd")
    assert facts.look_up(root, "") == User(0, 0, (), "/")


def _devices(tmp_path: pathlib.Path, value: str, assumed: list[str] | None = None) -> dict[str, str | list[str]]:
    """The devices of the host by their places in the container."""
    options, store = (
        Options(seccomp="unconfined", devices=(value,)),
        Store(state_dir=str(tmp_path), run_dir=str(tmp_path)),
    )
    found = facts.gather(options, store, "/srv/web", BundleRecord(), assumed)
    assert [device["path"] for device, _access in found.devices] == list(found.device_sources)
    return dict(found.device_sources)


@pytest.mark.parametrize("place", ["", ":/dev/x", ":/dev/x/", ":/dev//x:r", ":rw"])
@pytest.mark.parametrize("end", ["", "/", "//", "/.", "/./"])
def test_a_directory_is_that_of_its_devices(tmp_path: pathlib.Path, end: str, place: str) -> None:
    """As in podman, other files in it are left out."""
    host = tmp_path / "dri"
    (host / "by-path").mkdir(parents=True)
    (host / "card0").symlink_to("/dev/null")
    (host / "by-path" / "pci").symlink_to("/dev/zero")
    (host / "README").write_text("")
    (host / "gone").symlink_to(host / "nothing")
    (host / "folder").symlink_to("/etc")
    (host / "loop").symlink_to(host / "loop")
    to = "/dev/x" if ":/" in place else str(host)
    assert _devices(tmp_path, f"{host}{end}{place}") == {
        f"{to}/by-path/pci": [f"{host}/by-path/pci"], f"{to}/card0": [f"{host}/card0"],
    }  # fmt: skip


@pytest.mark.parametrize("names", [(), ("README",), ("sub/README",), ("sub/",)])
def test_a_directory_without_a_device_is_refused(tmp_path: pathlib.Path, names: tuple[str, ...]) -> None:
    host = tmp_path / "empty"
    host.mkdir()
    for name in names:
        (host / name).parent.mkdir(exist_ok=True)
        (host / name).mkdir() if name.endswith("/") else (host / name).write_text("")
    with pytest.raises(AbsentFile, match=f"^There is no device in the directory {host}"):
        _devices(tmp_path, f"{host}/:/dev/dri")
    assumed: list[str] = []
    assert _devices(tmp_path, str(host), assumed) == {}
    assert assumed == [f"There is no device in the directory {host}."]


@pytest.mark.parametrize("value", ["/dev/null", "/dev/null:/dev/null", "//dev//null", "/dev/./null", "/dev/null/"])
def test_spellings_of_a_device(tmp_path: pathlib.Path, value: str) -> None:
    assert _devices(tmp_path, value) == {"/dev/null": "/dev/null"}


def test_devices_have_one_order(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=str(tmp_path), run_dir=str(tmp_path))
    given = ["/dev/zero:/dev/b", "/dev/null:rw", "/dev/full:/dev/a:wr"]
    one, other = (
        facts.gather(Options(seccomp="unconfined", devices=(*devices,)), store, "/srv/web", BundleRecord()).devices
        for devices in (given, given[::-1])
    )
    assert one == other
    assert [(device["path"], access) for device, access in one] == [
        ("/dev/a", "rw"),
        ("/dev/b", "rwm"),
        ("/dev/null", "rw"),
    ]


def test_what_this_host_says(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=str(tmp_path), run_dir=str(tmp_path))
    found = facts.gather(
        Options(seccomp="unconfined", devices=("/dev/null:/dev/zero:r",)), store, "/srv/web", BundleRecord()
    )
    assert "CAP_CHOWN" in found.capabilities
    device, access = found.devices[0]
    assert (device["path"], device["type"], device["major"], device["minor"], access) == ("/dev/zero", "c", 1, 3, "r")
    assert found.resolv_conf is None


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ("rro", "rro"),
        ("ro,rro", "rro"),
        ("rnoexec", "rnoexec"),
        ("ro,rnosuid", "rnosuid"),
        ("rstrictatime", "rstrictatime"),
        ("ro", ""),
    ],
)
def test_a_kernel_without_recursive_options(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, options: str, asked: str
) -> None:
    """They are refused where the task asks for one. That of ro is a default, which becomes a warning."""
    monkeypatch.setattr(confinement, "can_set_recursively", lambda _release: False)
    store, wanted = (
        Store(state_dir=str(tmp_path), run_dir=str(tmp_path)),
        Options(mounts=(f"{tmp_path}:/d:{options}",), seccomp="unconfined"),
    )
    if not asked:
        assert not facts.gather(wanted, store, str(tmp_path), BundleRecord()).recursive
        return
    with pytest.raises(MissingPrerequisite, match=f"{asked} of the mount at /d needs Linux 5.12") as caught:
        facts.gather(wanted, store, str(tmp_path), BundleRecord())
    assert caught.value.hint == f"Use {asked[1:]}."


def test_only_the_source_of_a_bind_mount_is_a_path_of_the_host() -> None:
    mounts = (
        "/a:/1", {"type": "none", "source": "/b", "destination": "/2"}, {"type": "tmpfs", "source": "x", "destination": "/3"},
        {"type": "ext4", "source": "/c", "destination": "/4", "options": ["rbind"]}, {"type": "proc", "destination": "/5"},
        {"type": "overlay", "destination": "/6", "options": ["lowerdir=/l"]}, {"type": "nfs", "source": "server:/x", "destination": "/7"},
    )  # fmt: skip
    found = facts.touched(Request(path="/srv/web", options=Options(mounts=mounts, seccomp="/p")), "/state")
    assert found == ["/state", "/srv/web", "/p", "/a", "/b", "/c"]


class TestWhatDoesNotExistYet:
    """In check mode, earlier tasks of the play only predict the files that they create."""

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (Options(mounts=("/nowhere/data:/data",)), "The source /nowhere/data of the mount at /data does not exist."),
            (Options(network="path:/run/netns/nowhere"), "network: there is no namespace at /run/netns/nowhere."),
            (Options(ipc="path:/nowhere/ipc"), "ipc: there is no namespace at /nowhere/ipc."),
            (Options(env_files=("/nowhere/env",)), "env_files: /nowhere/env cannot be read: No such file or directory."),
            (Options(devices=("/dev/nowhere",)), "The device /dev/nowhere cannot be used: No such file or directory."),
            (Options(seccomp="/nowhere/profile.json"), "seccomp: /nowhere/profile.json cannot be read: No such file"),
        ],
    )  # fmt: skip
    def test_it_is_assumed(self, tmp_path: pathlib.Path, options: Options, says: str) -> None:
        options = options if options.seccomp != "default" else options._replace(seccomp="unconfined")
        store, assumed = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run"), list[str]()
        with pytest.raises(AbsentFile, match=re.escape(says)):
            facts.gather(options, store, str(tmp_path), BundleRecord())
        found = facts.gather(options, store, str(tmp_path), BundleRecord(), assumed)
        assert [each[: len(says)] for each in assumed] == [says]
        assert found.files == frozenset()  # A missing source is a directory.
        (warning,) = facts.assumptions(assumed)
        assert warning.endswith("Check mode assumes that an earlier task of the play creates it.")

    def test_a_wrong_file_is_refused(self, tmp_path: pathlib.Path) -> None:
        store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
        (tmp_path / "profile").write_text("no JSON", encoding="ascii")
        for options in (
            Options(seccomp=f"{tmp_path}/profile"),
            Options(devices=("/etc/passwd",), seccomp="unconfined"),
        ):
            with pytest.raises(InvalidOption):
                facts.gather(options, store, str(tmp_path), BundleRecord(), [])
