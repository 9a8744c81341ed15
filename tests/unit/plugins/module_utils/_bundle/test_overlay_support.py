# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new bundle gets an overlay where one can be mounted, and an existing one stays as it is."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.trees import mounted
from ansible_collections.longshore.oci.plugins.module_utils._bundle import overlay_support, rootfs
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import BundleRecord, Options, Request

pytestmark = pytest.mark.pure
_IMAGE = "oci:/srv/layout:web"


def _chosen(tmp_path: pathlib.Path, record: BundleRecord | None = None, check: bool = False, **given: t.Any) -> str:
    wanted = Request(**{"path": f"{tmp_path}/bundles/web", "image": _IMAGE, "rootfs_mode": "auto", **given})
    return overlay_support.chosen(wanted, record or BundleRecord(), f"{tmp_path}/state", check=check).rootfs_mode


@pytest.mark.parametrize("mode", ["copy", "overlay"])
@pytest.mark.parametrize("works", [True, False])
def test_an_existing_bundle_keeps_its_mode(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, mode: str, works: bool
) -> None:
    monkeypatch.setattr(overlay_support, "works", lambda *_paths: works)
    assert _chosen(tmp_path, BundleRecord(root="rootfs-1", rootfs_mode=mode)) == mode


@pytest.mark.parametrize(
    ("works", "uid", "given", "expected"),
    [
        (True, 0, {}, "overlay"), (False, 0, {}, "copy"), (True, 1000, {}, "copy"), (True, 0, {"check": True}, "copy"),
        (True, 0, {"options": Options(userns={"uidmap": ["0:100000:65536"]})}, "copy"),
        (True, 0, {"image": None, "rootfs": "/etc"}, "copy"), (True, 0, {"image": None, "rootfs": "/etc/passwd"}, "overlay"),
    ],
)  # fmt: skip
def test_a_new_bundle(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    works: bool,
    uid: int,
    given: dict[str, t.Any],
    expected: str,
) -> None:
    monkeypatch.setattr(overlay_support, "works", lambda *_paths: works)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert _chosen(tmp_path, **given) == expected


def test_a_host_without_overlays(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise LongshoreError("mount says: permission denied.")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(rootfs, "mount", refuse)
    assert _chosen(tmp_path) == "copy"
    assert os.listdir(f"{tmp_path}/state/roots") == []
    assert _chosen(tmp_path, path=f"{tmp_path}/a,b") == "copy"


@pytest.mark.impure
def test_the_kernel_decides(tmp_path: pathlib.Path) -> None:
    """Whatever this machine can do, nothing is left of the attempt."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount an overlay")
    assert _chosen(tmp_path) in ("copy", "overlay")
    assert os.listdir(f"{tmp_path}/state/roots") == []
    assert mounted(str(tmp_path)) == []
    # No overlay has its upper directory on procfs, which is another file system.
    assert _chosen(tmp_path, path="/proc/nothing/web") == "copy"
