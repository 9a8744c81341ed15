# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stamps and digests of what root file systems are made of. How they are unpacked, copied and mounted: test_bundles.py."""

from __future__ import annotations

import hashlib
import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._bundle import rootfs
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Source

pytestmark = pytest.mark.pure


class TestDirectoryDigest:
    @pytest.fixture
    def tree(self, tmp_path: pathlib.Path) -> pathlib.Path:
        (tmp_path / "tree/etc").mkdir(parents=True)
        (tmp_path / "tree/etc/version").write_text("1")
        (tmp_path / "tree/link").symlink_to("etc")
        return tmp_path / "tree"

    def test_the_same_tree_has_the_same(self, tree: pathlib.Path) -> None:
        first = rootfs.directory_digest(str(tree))
        assert first.startswith("sha256:")
        assert rootfs.directory_digest(str(tree)) == first
        # Times of directories say nothing of what is in them.
        os.utime(tree / "etc", (1, 1))
        assert rootfs.directory_digest(str(tree)) == first

    @pytest.mark.parametrize(
        "change",
        [
            lambda tree: (tree / "etc/new").touch(), lambda tree: (tree / "etc/version").unlink(),
            lambda tree: (tree / "etc/version").write_text("22"), lambda tree: os.utime(tree / "etc/version", (1, 1)),
            lambda tree: (tree / "etc/version").chmod(0o600), lambda tree: tree.chmod(0o711),
            lambda tree: (tree / "etc/version").rename(tree / "etc/other"),
            lambda tree: [(tree / "link").unlink(), (tree / "link").symlink_to("version")],
        ],
    )  # fmt: skip
    def test_any_change_tells(self, tree: pathlib.Path, change: t.Callable[[pathlib.Path], object]) -> None:
        first = rootfs.directory_digest(str(tree))
        change(tree)
        assert rootfs.directory_digest(str(tree)) != first


class TestTar:
    def test_digest_and_stamp(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "a.tar"
        path.write_bytes(b"content" * 1000)
        assert rootfs.tar_digest(str(path)) == f"sha256:{hashlib.sha256(b'content' * 1000).hexdigest()}"
        stamp = rootfs.tar_stamp(str(path))
        assert rootfs.tar_stamp(str(path)) == stamp
        os.utime(path, (1, 1))
        assert rootfs.tar_stamp(str(path)) != stamp

    @pytest.mark.parametrize("kind", ["fifo", "device"])
    def test_what_never_ends_is_not_read(self, tmp_path: pathlib.Path, kind: str) -> None:
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(InvalidOption, match="is neither a directory nor a tar"):
            rootfs.tar_stamp("/dev/zero" if kind == "device" else f"{tmp_path}/fifo")

    def test_one_that_is_gone(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(LongshoreError, match=f"Cannot read {tmp_path}/a.tar: No such file"):
            rootfs.tar_digest(f"{tmp_path}/a.tar")


class TestRoots:
    def test_a_directory_is_where_it_is(self, tmp_path: pathlib.Path) -> None:
        roots = rootfs.Roots(f"{tmp_path}/state")
        assert roots.path(Source("directory", "sha256:0", path=str(tmp_path))) == str(tmp_path)
        assert roots.path(Source("directory", "sha256:0", path=f"{tmp_path}/nowhere")) is None

    def test_of_another_source_what_is_unpacked_counts(self, tmp_path: pathlib.Path) -> None:
        roots = rootfs.Roots(f"{tmp_path}/state")
        assert roots.path(Source("tar", "sha256:0", files=f"sha256:{'a' * 64}")) is None
        assert roots.path(Source("image", "sha256:0", files="")) is None


@pytest.mark.parametrize("character", [",", ":", "\\"])
def test_what_the_options_of_a_mount_cannot_say(character: str) -> None:
    for lower, root in ((f"/a{character}b", "/root"), ("/lower", f"/a{character}b")):
        with pytest.raises(InvalidOption, match="cannot be used with rootfs_mode: overlay"):
            rootfs.mount(lower, root, Deadline(5))
