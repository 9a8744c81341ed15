# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps the root of a user namespace from its root file system. That it gets there is for the integration tests."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._host import userns
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

OWNER = 300000


@pytest.fixture
def directory() -> t.Iterator[pathlib.Path]:
    """One that everybody can enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as path:
        os.chmod(path, 0o711)
        yield pathlib.Path(path)


def _config(root: object, *, maps: bool = True) -> dict[str, t.Any]:
    mapping = [{"containerID": 0, "hostID": OWNER, "size": 1000}]
    linux = {"namespaces": [{"type": "user"}], "uidMappings": mapping, "gidMappings": mapping} if maps else {}
    return builders.config(root={"path": str(root)}, linux=linux)


@pytest.mark.parametrize(
    ("mode", "owner", "group", "closed"),
    [
        (0o700, 0, 0, True),
        (0o750, 0, 0, True),
        (0o755, 0, 0, False),
        (0o711, 0, 0, False),
        (0o700, OWNER, 0, False),
        (0o070, OWNER, OWNER, True),
        (0o710, 0, OWNER, False),
        (0o701, 0, OWNER, True),
    ],
)
def test_barrier(directory: pathlib.Path, mode: int, owner: int, group: int, closed: bool) -> None:
    above = directory / "above"
    root = above / "bundle" / "rootfs"
    root.mkdir(parents=True)
    os.chown(above, owner, group)
    above.chmod(mode)
    assert userns.barrier(_config(root)) == (str(above) if closed else None)
    assert userns.barrier(_config(root, maps=False)) is None


def test_the_root_file_system_itself(directory: pathlib.Path) -> None:
    (directory / "rootfs").mkdir(mode=0o700)
    assert userns.barrier(_config(directory / "rootfs")) == f"{directory}/rootfs"


def test_another_owner_of_the_namespace_has_no_mappings(directory: pathlib.Path) -> None:
    config = _config("/nowhere")
    config["linux"]["uidMappings"] = []
    assert userns.barrier(config) is None


class TestEnter:
    @pytest.fixture
    def paths(self, directory: pathlib.Path) -> Paths:
        paths = Paths("web", state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        os.makedirs(paths.bundle, mode=0o700)
        return paths

    def test_the_place(self, directory: pathlib.Path, paths: Paths) -> None:
        root = directory / "closed" / "rootfs"
        root.mkdir(parents=True)
        (directory / "closed").chmod(0o700)
        config = _config(root)
        userns.check(config, paths)
        argv = userns.enter(config, paths, ["conmon", "--cid", "web"])
        assert os.path.basename(argv[0]) == "unshare"
        assert argv[-5:] == [str(root), paths.staged_root, "conmon", "--cid", "web"]
        with open(f"{paths.bundle}/config.json", encoding="utf-8") as stream:
            assert json.load(stream) == {**config, "root": {"path": paths.staged_root}}
        assert (os.stat(paths.staged_root).st_uid, os.stat(paths.staged_root).st_gid) == (OWNER, OWNER)
        assert userns.barrier(_config(paths.staged_root)) is None
        assert config["root"]["path"] == str(root)

    def test_a_run_directory_that_is_closed_too(self, directory: pathlib.Path) -> None:
        (directory / "closed" / "rootfs").mkdir(parents=True)
        (directory / "closed").chmod(0o700)
        paths = Paths("web", state_dir=f"{directory}/state", run_dir=f"{directory}/closed/run")
        with pytest.raises(InvalidOption, match=r"can enter neither .*closed nor .*closed"):
            userns.check(_config(directory / "closed" / "rootfs"), paths)

    def test_nothing_to_check(self, directory: pathlib.Path, paths: Paths) -> None:
        (directory / "rootfs").mkdir(mode=0o755)
        userns.check(_config(directory / "rootfs"), paths)
