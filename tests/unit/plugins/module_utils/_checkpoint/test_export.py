# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import tarfile
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive.layout import measure
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import checkpoint_store, export
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.plan import Goal
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.request import Request
from ansible_collections.longshore.oci.tests.unit import builders, stored

pytestmark = pytest.mark.pure


def _request(tmp_path: pathlib.Path, **changes: t.Any) -> Request:
    return Request("web", Goal.CHECKPOINTED, **{"archive": f"{tmp_path}/web.tar", "compression": "none", **changes})


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("x")
    return stored.write(tmp_path / "stored", stored.manifest(), {**stored.SPEC, "root": {"path": str(root)}})


def _export(path: str, request: Request, **changes: t.Any) -> checkpoint_store.Stored:
    found = checkpoint_store.load(path)
    assert found is not None
    record = builders.record(**changes)
    return export.export(
        request, found._replace(manifest=found.manifest._replace(export=request.archive)), record, None
    )


def test_what_is_known_afterwards(tmp_path: pathlib.Path, path: str) -> None:
    members = measure(path)
    made = _export(path, _request(tmp_path))
    assert made.manifest == stored.manifest().with_members(members)
    assert checkpoint_store.load(path) == made
    with tarfile.open(tmp_path / "web.tar") as tar:
        assert "rootfs-diff.tar" not in tar.getnames()


def test_another_archive_stays_due(tmp_path: pathlib.Path, path: str) -> None:
    found = checkpoint_store.load(path)
    assert found is not None
    due = found._replace(manifest=found.manifest._replace(export="/srv/another.tar"))
    made = export.export(_request(tmp_path), due, builders.record(), None)
    assert made.manifest.export == "/srv/another.tar"


@pytest.mark.parametrize("asked", [True, False])
def test_the_root_file_system(tmp_path: pathlib.Path, path: str, asked: bool) -> None:
    """What a killed task has packed of one goes first."""
    pathlib.Path(path, "rootfs-diff.tar").write_text("half")
    made = _export(path, _request(tmp_path, include_rootfs=asked))
    assert made.manifest.rootfs == ("complete" if asked else None)
    assert os.path.exists(f"{path}/rootfs-diff.tar") == asked


@pytest.mark.parametrize(
    ("driver", "asked", "there"), [("k8s-file", True, True), ("k8s-file", False, False), ("journald", True, False)]
)
def test_the_log(tmp_path: pathlib.Path, path: str, driver: str, asked: bool, there: bool) -> None:
    (tmp_path / "log").write_text("said")
    changes = {"log_path": f"{tmp_path}/log", "definition": builders.definition(log_driver=driver)}
    _export(path, _request(tmp_path, include_logs=asked), **changes)
    with tarfile.open(tmp_path / "web.tar") as tar:
        assert ("ctr.log" in tar.getnames()) == there


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("directory", {}, "it is a directory"), ("none/web.tar", {}, "there is no directory"), ("open/web.tar", {}, "can be changed by users other than"),
        ("pipe", {"compression": "zstd"}, "cannot be used with a pipe"), ("open pipe", {}, "can be changed by users other than"),
        ("web.tar", {"sign_key": "/nothing"}, "/nothing"), ("web.tar", {}, ""), ("pipe", {}, ""),
    ],
)  # fmt: skip
def test_an_archive_that_cannot_be_written(
    tmp_path: pathlib.Path, name: str, changes: dict[str, t.Any], says: str
) -> None:
    for each, mode in (("directory", 0o755), ("open", 0o777)):
        (tmp_path / each).mkdir()
        (tmp_path / each).chmod(mode)
    for each, mode in (("pipe", 0o600), ("open pipe", 0o666)):
        os.mkfifo(tmp_path / each)
        (tmp_path / each).chmod(mode)
    request = _request(tmp_path, archive=f"{tmp_path}/{name}", **{"compression": None, **changes})
    if not says:
        export.check_export(request)
        return
    with pytest.raises(InvalidOption, match=says):
        export.check_export(request)
