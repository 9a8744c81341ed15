# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount points of a restored container, on real directories."""

from __future__ import annotations

import os
import pathlib
import stat
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._runtime import mount_points

pytestmark = pytest.mark.pure


def bind(place: str, source: str) -> dict[str, t.Any]:
    return {"destination": place, "source": source, "type": "bind", "options": ["rbind"]}


def fs(place: str, kind: str = "tmpfs") -> dict[str, t.Any]:
    return {"destination": place, "source": kind, "type": kind}


@pytest.fixture
def top(tmp_path: pathlib.Path) -> str:
    for name in ("rootfs/run", "rootfs/var", "d", "e"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "rootfs/var/run").symlink_to("/run")
    (tmp_path / "a").touch()
    return str(tmp_path)


def config(top: str, *mounts: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"root": {"path": f"{top}/rootfs"}, "mounts": list(mounts)}


@pytest.mark.parametrize(
    ("mounts", "made"),
    [
        ([bind("/data", "d"), bind("/data/sub/deep", "e")], ["rootfs/data/", "d/sub/deep/"]),
        ([bind("/data", "d"), bind("/data/conf/a", "a")], ["rootfs/data/", "d/conf/a"]),
        ([bind("/data", "d"), fs("/data/tmp")], ["rootfs/data/", "d/tmp/"]),
        ([bind("/data", "d"), bind("/data/sub", "e"), bind("/data/sub/deep", "d")], ["d/sub/", "e/deep/"]),
        # Without a parent that is mounted: in the root file system, over its links too.
        ([bind("/mnt/x/y", "d"), bind("/mnt/a", "a"), fs("/proc", "proc")], ["rootfs/mnt/x/y/", "rootfs/mnt/a", "rootfs/proc/"]),
        ([bind("/var/run/secrets", "d"), bind("data//x/", "e")], ["rootfs/run/secrets/", "rootfs/data/x/"]),
        # CRIU restores the content of a tmpfs.
        ([fs("/t"), bind("/t/x/y", "d")], ["rootfs/t/"]),
        ([bind("/data", "d"), fs("/data/t"), bind("/data/t/x", "e")], ["d/t/"]),
    ],
)  # fmt: skip
def test_they_are_created_where_the_runtime_creates_them(
    top: str, mounts: list[dict[str, t.Any]], made: list[str]
) -> None:
    mounts = [{**mount, "source": f"{top}/{mount['source']}"} if mount["type"] == "bind" else mount for mount in mounts]
    with mount_points.created(config(top, *mounts)):
        pass
    for path in made:
        found = os.lstat(f"{top}/{path.rstrip('/')}")
        assert stat.S_ISDIR(found.st_mode) == path.endswith("/")
        assert stat.S_IMODE(found.st_mode) == (0o755 if path.endswith("/") else 0o644)
    if mounts[0]["type"] == "tmpfs":
        assert os.listdir(f"{top}/rootfs/t") == []
    with mount_points.created(config(top, *mounts)):  # They exist now.
        pass


def test_in_a_read_only_root_also_those_that_crun_makes_there(top: str) -> None:
    mounts = [
        bind("/data", f"{top}/d"),
        bind("/data/sub/deep", f"{top}/e"),
        fs("/proc", "proc"),
        bind("/proc/file", f"{top}/a"),
    ]
    mounts += [fs("/t"), bind("/t/x", f"{top}/d")]
    with mount_points.created({**config(top, *mounts), "root": {"path": f"{top}/rootfs", "readonly": True}}):
        pass
    assert os.path.isdir(f"{top}/rootfs/data/sub/deep")
    assert os.path.isfile(f"{top}/rootfs/proc/file")
    assert os.path.isdir(f"{top}/d/sub/deep")
    assert os.listdir(f"{top}/rootfs/t") == []


def test_nothing_is_left_of_a_restore_that_fails(top: str) -> None:
    mounts = [bind("/data", f"{top}/d"), bind("/data/sub/deep", f"{top}/e"), bind("/data/sub/a", f"{top}/a")]
    os.mkdir(f"{top}/rootfs/data")
    with pytest.raises(RuntimeError), mount_points.created(config(top, *mounts)):  # noqa: PT012
        assert sorted(os.listdir(f"{top}/d/sub")) == ["a", "deep"]
        raise RuntimeError
    assert os.listdir(f"{top}/d") == []
    assert os.listdir(f"{top}/rootfs/data") == []


@pytest.mark.parametrize("link", ["sub", "sub/deep"])
def test_no_link_in_a_volume_is_followed(top: str, link: str) -> None:
    os.makedirs(f"{top}/outside")
    os.makedirs(os.path.dirname(f"{top}/d/{link}"), exist_ok=True)
    os.symlink(f"{top}/outside", f"{top}/d/{link}")
    with mount_points.created(config(top, bind("/data", f"{top}/d"), bind("/data/sub/deep/x", f"{top}/e"))):
        pass
    assert os.listdir(f"{top}/outside") == []


@pytest.mark.parametrize(("source", "there", "said"), [("e", "file", "is a file, and the container has a directory mounted there"),
                                                       ("a", "directory", "is a directory, and the container has a file mounted there")])  # fmt: skip
def test_another_kind_of_file_is_refused(top: str, source: str, there: str, said: str) -> None:
    place = pathlib.Path(top, "d/sub")
    mounts = [bind("/data", f"{top}/d"), bind("/data/sub", f"{top}/{source}")]
    mount_points.check(config(top, *mounts))
    if there == "file":
        place.touch()
    else:
        place.mkdir()
    with pytest.raises(InvalidOption, match=rf"d/sub {said} \(at /data/sub\)"):
        mount_points.check(config(top, *mounts))
    (pathlib.Path(top) / "rootfs/data").touch()  # The archive may bring another root file system.
    mount_points.check(config(top, bind("/data", f"{top}/d")))
