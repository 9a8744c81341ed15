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
from ansible_collections.longshore.oci.plugins.module_utils._bundle import rootfs, used_directory


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


KINDS = {
    "proc": lambda top, root: mounted("-t", "proc", "p", root / "proc"),
    "sys": lambda top, root: mounted("-t", "sysfs", "s", root / "sys"),
    "tmpfs with files": lambda top, root: mounted("-t", "tmpfs", "t", root / "dev/pts"),
    "the same file system": lambda top, root: mounted("--bind", top / "elsewhere", root / "home/a b"),
    "deep": lambda top, root: mounted("--bind", top / "elsewhere", root / "usr/share/x"),
}


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
