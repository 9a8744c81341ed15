# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chroot in use as a root file system, with real mounts in it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._bundle import rootfs, used_directory
from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Options, Request
from ansible_collections.longshore.oci.tests.unit.fuse import dead


@contextlib.contextmanager
def mounted(*argv: object) -> t.Iterator[None]:
    subprocess.run(["mount", *map(str, argv)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(argv[-1])], check=True)


@pytest.fixture
def chroot(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "a chroot"
    for name in ("proc", "sys", "dev/pts", "etc", "home/a b", "usr/share/x"):
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o755)
    for name in ("etc/one", "usr/share/x/two", "home/under", "dev/null"):
        (root / name).write_text("x")
    os.link(root / "etc/one", root / "etc/same")
    (root / "bin").symlink_to("usr/bin")
    (root / "dev").chmod(0o1777)
    os.chown(root / "dev", 7, 8)
    os.setxattr(root / "dev", "user.kept", b"1")
    os.utime(root / "dev", ns=(10**18, 10**18))
    (root / os.fsdecode(b"home/latin-\xe9")).write_text("x")
    return root


def tree(path: pathlib.Path) -> set[str]:
    return {str(each.relative_to(path)) for each in path.rglob("*")}


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a kernel that cannot mount a tree again without its mounts, or for a user other than root."""
    monkeypatch.setattr(used_directory, "OPEN_TREE", -1)


KINDS = {
    "proc": lambda top, root: mounted("-t", "proc", "p", root / "proc"),
    "sys": lambda top, root: mounted("-t", "sysfs", "s", root / "sys"),
    "tmpfs with files": lambda top, root: mounted("-t", "tmpfs", "t", root / "dev/pts"),
    "the same file system": lambda top, root: mounted("--bind", top / "elsewhere", root / "home/a b"),
    "deep": lambda top, root: mounted("--bind", top / "elsewhere", root / "usr/share/x"),
}


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_mounted_is_not_copied(tmp_path: pathlib.Path, chroot: pathlib.Path, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_text("x")
    (tmp_path / "space").mkdir()
    # Of a mount point, only that it is there counts.
    expected = tree(chroot) - ({"usr/share/x/two"} if kind == "deep" else set())
    digest = rootfs.directory_digest(str(chroot))
    with KINDS[kind](tmp_path, chroot):
        if kind.startswith("tmpfs"):
            (chroot / "dev/pts/file").write_text("x")
        same = rootfs.directory_digest(str(chroot))
        rootfs.copy(str(chroot), f"{tmp_path}/space/copy", {}, Deadline(60))
    assert tree(tmp_path / "space/copy") == expected
    assert (same == digest) is (kind != "deep")  # There, a file is hidden.
    made = tmp_path / "space/copy"
    for name in (".", "dev", "home", "etc", "usr/share"):
        one, other = os.stat(chroot / name), os.stat(made / name)
        for what in ("st_mode", "st_uid", "st_gid"):
            assert getattr(one, what) == getattr(other, what), name
    assert os.stat(made / "dev").st_mtime_ns == 10**18
    assert os.getxattr(made / "dev", "user.kept") == b"1"
    assert os.path.samefile(made / "etc/one", made / "etc/same")
    assert os.readlink(made / "bin") == "usr/bin"
    assert os.listdir(made / "home/a b") == []


@pytest.mark.usefixtures("old")
def test_a_mounted_file_is_left_out(tmp_path: pathlib.Path, chroot: pathlib.Path) -> None:
    (tmp_path / "space").mkdir()
    with mounted("--bind", "/etc/passwd", chroot / "etc/one"):
        assert used_directory.mounts_below(str(chroot)) == {"etc/one"}
        rootfs.copy(str(chroot), f"{tmp_path}/space/copy", {}, Deadline(60))
    assert os.listdir(tmp_path / "space/copy/etc") == ["same"]


def test_a_mount_point_itself_is_copied(tmp_path: pathlib.Path) -> None:
    """As an image that is mounted by loop."""
    for name in ("root", "space"):
        (tmp_path / name).mkdir()
    with mounted("-t", "tmpfs", "t", tmp_path / "root"):
        (tmp_path / "root/file").touch()
        assert not used_directory.mounts_below(str(tmp_path / "root"))
        rootfs.copy(f"{tmp_path}/root", f"{tmp_path}/space/copy", {}, Deadline(60))
    assert os.listdir(tmp_path / "space/copy") == ["file"]


HIDING = {
    **KINDS,
    "a file": lambda top, root: mounted("--bind", "/etc/passwd", root / "etc/one"),
    "nodes": lambda top, root: mounted("-t", "tmpfs", "t", root / "dev"),
    "all modes": lambda top, root: mounted("-t", "tmpfs", "t", root / "run"),
    "files": lambda top, root: mounted("--rbind", "/etc", root / "etc"),
}


@pytest.mark.parametrize("kind", HIDING)
def test_root_gets_the_files_below_mounts(tmp_path: pathlib.Path, chroot: pathlib.Path, kind: str) -> None:
    """Of a chroot, the bundle is the same when it is in use: its resolv.conf, the nodes in /dev, the mode of a mount point."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_text("x")
    (tmp_path / "space").mkdir()
    (chroot / "proc").chmod(0o555)
    (chroot / "run/lock").mkdir(parents=True)
    (chroot / "run").chmod(0o1777)
    os.mknod(chroot / "dev/zero", 0o20666, os.makedev(1, 5))
    expected = {name: (os.lstat(chroot / name).st_mode, os.lstat(chroot / name).st_uid) for name in tree(chroot)}
    digest = rootfs.directory_digest(str(chroot))
    with HIDING[kind](tmp_path, chroot):
        same = rootfs.directory_digest(str(chroot))
        rootfs.copy(str(chroot), f"{tmp_path}/space/copy", {}, Deadline(60))
    made = tmp_path / "space/copy"
    assert {name: (os.lstat(made / name).st_mode, os.lstat(made / name).st_uid) for name in tree(made)} == expected
    assert same == digest


@pytest.mark.parametrize("kind", ["root", "others"])
@pytest.mark.parametrize("place", ["mnt", "srv/data", "etc", "home"])
def test_a_file_system_in_it_does_not_answer(
    tmp_path: pathlib.Path, chroot: pathlib.Path, monkeypatch: pytest.MonkeyPatch, place: str, kind: str
) -> None:
    """Root does not ask it. For others, it is named in time. The user and the working directory are looked up too."""
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    (chroot / "srv").mkdir()
    (chroot / "home").rename(chroot / "other")
    (chroot / "etc").rename(chroot / "kept")
    (chroot / place).mkdir(exist_ok=True)
    options = Options(argv=("/x",), seccomp=f"{tmp_path}/profile.json", user="7", chdir="/home/x/../y")
    bundles = Bundles(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    wanted = Request(f"{tmp_path}/web", rootfs=str(chroot), options=options, timeout=20)
    (chroot / place).rmdir()
    with dead(chroot / place):
        if kind == "root":
            root = bundles.converge(wanted).record.root
            assert bundles.converge(wanted).actions == ()
            assert os.listdir(f"{tmp_path}/web/{root}/{place}") == []
        else:
            monkeypatch.setattr(used_directory, "OPEN_TREE", -1)
            with pytest.raises(LongshoreError, match=f"{chroot}/{place} did not answer in time"):
                bundles.converge(wanted._replace(timeout=1))
