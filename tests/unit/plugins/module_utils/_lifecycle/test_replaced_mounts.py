# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a mount namespace still has what is at the source of its bind mounts, with the tables of this kernel."""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import replaced_mounts
from ansible_collections.longshore.oci.tests.unit.bind_mounts import bind, container
from ansible_collections.longshore.oci.tests.unit.fuse import dead

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


@pytest.fixture
def files(tmp_path: pathlib.Path) -> pathlib.Path:
    """Sources and places of each kind."""
    top = tmp_path / "with a blank"
    for name in ("conf/app.conf", "place"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("one")
    (top / "releases/1/site").mkdir(parents=True)
    (top / "releases/2/site").mkdir(parents=True)
    (top / "current").symlink_to("releases/1")
    (top / "directory").mkdir()
    return top


def _replaced(config: dict[str, t.Any], pid: int) -> list[str]:
    return replaced_mounts.replaced(config, mountinfo.read(f"/proc/{pid}/mountinfo"), mountinfo.read())


def replace(path: pathlib.Path) -> None:
    """As ansible.builtin.copy does."""
    (path.parent / ".new").write_text("two")
    (path.parent / ".new").replace(path)


def rewrite(path: pathlib.Path) -> None:
    path.write_text("two")
    path.chmod(0o600)
    os.utime(path, (0, 0))


def move(path: pathlib.Path) -> None:
    """As an editor that keeps a backup."""
    path.rename(f"{path}~")
    path.write_text("two")


def move_parent(path: pathlib.Path) -> None:
    path.parent.rename(f"{path.parent}.old")
    path.parent.mkdir()
    path.write_text("two")


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (replace, True), (pathlib.Path.unlink, True), (move, True), (move_parent, True), (rewrite, False),
        (lambda _path: None, False),
    ],
)  # fmt: skip
def test_a_file(files: pathlib.Path, change: t.Callable[[pathlib.Path], None], seen: bool) -> None:
    mount = bind(files / "conf/app.conf", files / "place")
    with container(mount) as pid:
        assert _replaced({"mounts": [mount]}, pid) == []
        change(files / "conf/app.conf")
        assert _replaced({"mounts": [mount]}, pid) == ([str(files / "place")] if seen else [])


def test_a_directory_behind_a_link(files: pathlib.Path) -> None:
    mount = bind(files / "current/site", files / "directory", type="none", options=["bind"])
    with container(mount) as pid:
        assert _replaced({"mounts": [mount]}, pid) == []
        (files / "current/site/file").write_text("another file in it is none of the mount")
        assert _replaced({"mounts": [mount]}, pid) == []
        (files / "current").unlink()
        (files / "current").symlink_to(files / "releases/2")
        assert _replaced({"mounts": [mount]}, pid) == [str(files / "directory")]
        (files / "current").unlink()
        (files / "current").symlink_to("releases/../releases/1")
        assert _replaced({"mounts": [mount]}, pid) == []
        shutil.rmtree(files / "releases/1/site")
        (files / "releases/1/site").mkdir()
        assert _replaced({"mounts": [mount]}, pid) == [str(files / "directory")]


def listen(path: pathlib.Path) -> None:
    """Make a socket. Its address may have 107 bytes."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


def test_a_socket_that_its_daemon_made_again(files: pathlib.Path) -> None:
    listen(files / "s")
    mount = bind(files / "s", files / "place")
    with container(mount) as pid:
        assert _replaced({"mounts": [mount]}, pid) == []
        (files / "s").unlink()
        listen(files / "s")
        assert _replaced({"mounts": [mount]}, pid) == [str(files / "place")]


def test_a_place_behind_a_link_of_the_root_file_system(files: pathlib.Path) -> None:
    """The table has the place to which it leads."""
    (files / "run").symlink_to(files)
    source = files / "conf/app.conf"
    mount, other = bind(source, files / "run/place"), bind(files / "releases", files / "directory")
    with container(mount, other) as pid:
        mounts = {"mounts": [mount, other]}
        assert _replaced(mounts, pid) == []
        (files / "releases").rename(files / "moved")
        assert _replaced(mounts, pid) == [str(files / "directory")]
        replace(source)
        assert _replaced(mounts, pid) == [str(files / "run/place"), str(files / "directory")]


def test_another_file_system_at_the_source(files: pathlib.Path) -> None:
    mount = bind(files / "conf", files / "directory")
    with container(mount) as pid:
        subprocess.run(["mount", "-t", "tmpfs", "none", str(files / "conf")], check=True)
        try:
            # Of what is mounted on top by now.
            assert any(each.place == str(files / "conf") for each in mountinfo.read())
            found = _replaced({"mounts": [mount]}, pid)
        finally:
            subprocess.run(["umount", str(files / "conf")], check=True)
    assert found == [str(files / "directory")]


@pytest.mark.parametrize(
    "mount",
    [
        {"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/x", "type": "tmpfs", "source": "/etc"},
        bind("relative", "/x"), bind("/etc/passwd", "/not-mounted-anywhere"),
    ],
)  # fmt: skip
def test_what_is_no_bind_mount_of_this_container(mount: dict[str, t.Any]) -> None:
    with container() as pid:
        assert _replaced({"mounts": [mount]}, pid) == []


def test_a_file_system_that_does_not_answer(files: pathlib.Path) -> None:
    (files / "link").symlink_to(files / "gone/x")
    with dead(files / "gone"):
        mounts = [bind(path, files / "directory") for path in (files / "gone", files / "gone/x", files / "link")]
        with container(bind(files / "releases", files / "directory")) as pid:
            assert _replaced({"mounts": mounts}, pid) == []
