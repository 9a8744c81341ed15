# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done to a bundle, as a table."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Source
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.plan import plan

pytestmark = pytest.mark.pure

IMAGE = {"reference": "docker://a", "platform": None, "digest": "sha256:1", "manifest": "sha256:2"}
SOURCE = Source("image", "sha256:r", image=IMAGE)
RECORD = {"root": "rootfs-1", "rootfs_digest": "sha256:r", "rootfs_mode": "copy", "image": IMAGE}
AS_IT_IS: dict[str, t.Any] = {
    "record": RECORD, "source": SOURCE, "root": "rootfs-1", "root_is_there": True, "is_mounted": False, "overlay": False,
    "config": {}, "files_differ": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "actions", "paths"),
    [
        ({}, [], []),
        ({"record": {}}, ["rootfs", "config"], ["image.reference", "image.digest", "rootfs_digest", "rootfs_mode"]),
        ({"source": SOURCE._replace(cached=False), "record": {}, "root": "rootfs-2"}, ["pull", "rootfs", "config"], None),
        ({"root_is_there": False}, ["rootfs", "config"], []),
        ({"root": "rootfs-2", "config": {"root.path": ("a", "b"), "process.cwd": ("/", "/x")}}, ["rootfs", "config"], ["process.cwd"]),
        ({"config": {"process.cwd": ("/", "/x")}}, ["config"], ["process.cwd"]),
        ({"config": {"root.path": ("tampered", "rootfs-1")}}, ["config"], ["root.path"]),
        ({"files_differ": True}, ["config"], []),
        # The same files under another digest: only what is known of it changes.
        ({"source": SOURCE._replace(image={**IMAGE, "digest": "sha256:9"})}, ["config"], ["image.digest"]),
        ({"overlay": True, "record": {**RECORD, "rootfs_mode": "overlay"}}, ["mount"], []),
        ({"overlay": True, "record": {**RECORD, "rootfs_mode": "overlay"}, "is_mounted": True}, [], []),
    ],
)  # fmt: skip
def test_plans(case: dict[str, t.Any], actions: list[str], paths: list[str] | None) -> None:
    decided = plan(**{**AS_IT_IS, **case})
    assert [action.value for action in decided.actions] == actions
    assert paths is None or sorted(decided.differences) == sorted(paths)
