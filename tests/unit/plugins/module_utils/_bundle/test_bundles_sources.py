# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of bundles as they occur on hosts: any umask, archives that are replaced, other compressions, used directories."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import pathlib
import stat
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Action, Options, Request

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES = os.path.join(HERE, "..", "..", "..", "..", "integration", "targets", "setup_images", "files", "images.py")
UNPACK = (Action.ROOTFS, Action.CONFIG)
ALL = (Action.PULL, *UNPACK)


@functools.cache
def _images() -> t.Any:
    found = importlib.util.spec_from_file_location("images_of_sources", IMAGES)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["images_of_sources"] = module
    found.loader.exec_module(module)
    return module


def layout(path: pathlib.Path, files: t.Mapping[str, str], tag: str = "web", **config: t.Any) -> str:
    """Make an OCI layout with one image, and return its reference. Its layer has no entries of directories."""
    made = _images().Layout(str(path))
    entries = [_images().Entry(name, text.encode()) for name, text in files.items()]
    made.tag(tag, made.image([entries], **{"Cmd": ["/x"], **config}))
    made.close()
    return f"oci:{path}:{tag}"


@pytest.fixture
def bundles(tmp_path: pathlib.Path) -> Bundles:
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    return Bundles(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def request(tmp_path: pathlib.Path, image: str | None = None, rootfs: object = None, **options: t.Any) -> Request:
    given = Options(**{"argv": ("/x",), "seccomp": f"{tmp_path}/profile.json", **options})
    return Request(f"{tmp_path}/web", image=image, rootfs=None if rootfs is None else str(rootfs), options=given)


def root_of(tmp_path: pathlib.Path, record: t.Mapping[str, t.Any]) -> pathlib.Path:
    return tmp_path / "web" / str(record["root"])


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextlib.contextmanager
def umask(value: int) -> t.Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("value", [0o077, 0o027, 0o000, 0o777])
@pytest.mark.parametrize("kind", ["image", "tar", "directory"])
def test_the_umask_of_the_host_reaches_no_file(tmp_path: pathlib.Path, bundles: Bundles, kind: str, value: int) -> None:
    """Directories without an entry of their own are open to all, as with podman, and so is the root."""
    files = {"usr/bin/x": "x", "data/seed": "1"}
    if kind == "image":
        wanted = request(tmp_path, layout(tmp_path / "layout", files, Volumes={"/data": {}, "/new/volume": {}}))
    else:
        (tmp_path / "tree.tar").write_bytes(_images().tar([_images().Entry(n, d.encode()) for n, d in files.items()]))
        wanted = request(tmp_path, rootfs=tmp_path / "tree.tar")
    if kind == "directory":
        (tmp_path / "tree").mkdir(mode=0o755)
        subprocess.run(["tar", "xf", tmp_path / "tree.tar", "-C", tmp_path / "tree"], check=True)
        wanted = request(tmp_path, rootfs=tmp_path / "tree")
    with umask(value):
        record = bundles.converge(wanted).record
    root = root_of(tmp_path, record)
    assert {str(path): mode(path) for path in (root, root / "usr", root / "usr/bin", root / "data")} == {
        str(path): 0o755 for path in (root, root / "usr", root / "usr/bin", root / "data")
    }
    assert mode(root / "usr/bin/x") == 0o644
    if kind == "image":
        for volume in (tmp_path / "web/volumes").iterdir():
            assert mode(volume) == 0o755
    assert {mode(path) for path in (tmp_path / "web", tmp_path / "state/roots") if path.exists()} == {0o700}
    assert bundles.converge(wanted).actions == ()


def test_files_that_an_earlier_release_unpacked_are_not_used(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    """It had the umask of the host. An existing bundle is not made again."""
    wanted = request(tmp_path, layout(tmp_path / "layout", {"etc/version": "1"}))
    bundles.converge(wanted)
    (new,) = (tmp_path / "state/roots").iterdir()
    old = new.rename(tmp_path / "state/roots" / new.name.partition(".")[0])
    old.chmod(0o700)
    assert bundles.converge(wanted).actions == ()
    record = bundles.converge(request(tmp_path, wanted.image, hostname="other")).record
    assert mode(root_of(tmp_path, record)) == 0o755


def test_an_overlay_of_an_earlier_release_stays_over_its_files(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    """Its changes may not fit over others. A new one is over files with the right modes, and so after a reboot."""
    wanted = request(tmp_path, layout(tmp_path / "layout", {"etc/version": "1"}))._replace(rootfs_mode="overlay")
    root = root_of(tmp_path, bundles.converge(wanted).record)
    try:
        (root / "mine").touch()
        subprocess.run(["umount", root], check=True)
        (new,) = (tmp_path / "state/roots").iterdir()
        old = new.rename(tmp_path / "state/roots" / new.name.partition(".")[0])
        record = tmp_path / "web/longshore.json"
        record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "lower"}))
        for _reboot in range(2):
            assert bundles.converge(wanted).actions == (Action.MOUNT,)
            assert (root / "mine").exists()
            assert f"lowerdir={old},".encode() in pathlib.Path("/proc/self/mountinfo").read_bytes()
            assert not new.exists()
            subprocess.run(["umount", root], check=True)
        other = root_of(
            tmp_path, bundles.converge(wanted._replace(options=wanted.options._replace(hostname="b"))).record
        )
        assert f"lowerdir={new},".encode() in pathlib.Path("/proc/self/mountinfo").read_bytes()
        subprocess.run(["umount", other], check=True)
    finally:
        bundles.converge(wanted._replace(absent=True))
