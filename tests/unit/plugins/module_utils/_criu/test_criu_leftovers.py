# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What CRIU leaves in /tmp, on real directories and mounts there."""

from __future__ import annotations

import os
import pathlib
import secrets
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._criu import criu_leftovers


@pytest.fixture
def yard() -> t.Iterator[str]:
    path = f"/tmp/.criu.mntns.{secrets.token_hex(3)}"
    os.mkdir(path)
    yield path
    subprocess.run(["umount", "-l", path], capture_output=True, check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)


def log(tmp_path: pathlib.Path, path: str) -> str:
    lines = [
        "(00.1)      1: mnt-v2: Start with 0:(null)",
        f"(00.2)      1: mnt-v2: Mounting tmpfs @{path}/mnt-0000001 (0)",
    ]
    (tmp_path / "restore.log").write_text("\n".join(lines))
    return f"{tmp_path}/restore.log"


def test_the_mount_and_its_directory_go(yard: str, tmp_path: pathlib.Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", yard], check=True)
    os.mkdir(f"{yard}/mnt-0000001")
    for _time in range(2):
        criu_leftovers.remove(log(tmp_path, yard))
    assert not os.path.exists(yard)
    assert yard not in [mount.place for mount in mountinfo.read()]


def test_a_directory_without_a_mount_goes(yard: str, tmp_path: pathlib.Path) -> None:
    criu_leftovers.remove(log(tmp_path, yard))
    assert not os.path.exists(yard)


def test_what_is_not_of_criu_stays(yard: str, tmp_path: pathlib.Path) -> None:
    pathlib.Path(yard, "file").touch()
    criu_leftovers.remove(log(tmp_path, yard))  # not empty
    assert os.listdir(yard) == ["file"]
    os.unlink(f"{yard}/file")
    criu_leftovers.remove(log(tmp_path, f"{yard}more"))  # another name
    criu_leftovers.remove(f"{tmp_path}/missing.log")
    assert os.path.isdir(yard)
    os.chown(yard, 65534, 65534)
    criu_leftovers.remove(log(tmp_path, yard))  # of another user
    assert os.path.isdir(yard)


def test_a_link_is_not_followed(yard: str, tmp_path: pathlib.Path) -> None:
    os.rmdir(yard)
    (tmp_path / "other").mkdir()
    os.symlink(tmp_path / "other", yard)
    criu_leftovers.remove(log(tmp_path, yard))
    assert os.path.islink(yard)
    assert (tmp_path / "other").is_dir()
