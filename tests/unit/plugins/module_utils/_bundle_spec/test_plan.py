# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done to a bundle, as a table."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import BundleRecord, Source
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.plan import plan

pytestmark = pytest.mark.pure

IMAGE = {"reference": "docker://a", "platform": None, "digest": "sha256:1", "manifest": "sha256:2"}
SOURCE = Source("image", "sha256:r", image=IMAGE)
RECORD = BundleRecord(root="rootfs-1", rootfs_digest="sha256:r", rootfs_mode="copy", image=IMAGE)
AS_IT_IS: dict[str, t.Any] = {
    "record": RECORD, "source": SOURCE, "root": "rootfs-1", "root_is_there": True, "is_mounted": False, "overlay": False,
    "config": {}, "files_differ": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "actions", "paths"),
    [
        ({}, [], []),
        ({"record": BundleRecord()}, ["rootfs", "config"], ["image.reference", "image.digest", "rootfs_digest", "rootfs_mode"]),
        ({"source": SOURCE._replace(cached=False), "record": BundleRecord(), "root": "rootfs-2"}, ["pull", "rootfs", "config"], None),
        ({"root_is_there": False}, ["rootfs", "config"], []),
        ({"root": "rootfs-2", "config": {"root.path": ("a", "b"), "process.cwd": ("/", "/x")}}, ["rootfs", "config"], ["process.cwd"]),
        ({"config": {"process.cwd": ("/", "/x")}}, ["config"], ["process.cwd"]),
        ({"config": {"root.path": ("tampered", "rootfs-1")}}, ["config"], ["root.path"]),
        ({"files_differ": True}, ["config"], []),
        # The same files under another digest: only what is known of it changes.
        ({"source": SOURCE._replace(image={**IMAGE, "digest": "sha256:9"})}, ["config"], ["image.digest"]),
        ({"overlay": True, "record": RECORD._replace(rootfs_mode="overlay")}, ["mount"], []),
        ({"overlay": True, "record": RECORD._replace(rootfs_mode="overlay"), "is_mounted": True}, [], []),
    ],
)  # fmt: skip
def test_plans(case: dict[str, t.Any], actions: list[str], paths: list[str] | None) -> None:
    decided = plan(**{**AS_IT_IS, **case})
    assert [action.value for action in decided.actions] == actions
    assert paths is None or sorted(decided.differences) == sorted(paths)


def test_a_record_of_a_former_release() -> None:
    """Such a file stays as it is: the words are the names of the fields, and only a change that is in progress is marked."""
    user = {"wanted": "web", "uid": 1, "gid": 2, "groups": [3], "home": "/srv"}
    written = {
        "format": 1, "root": "rootfs-1", "rootfs_digest": "sha256:r", "rootfs_mode": "copy", "image": IMAGE, "source": "", "stamp": [],
        "apparmor": None, "level": None, "user": user, "config_digest": "sha256:c", "healthcheck": None,
    }  # fmt: skip
    record = BundleRecord.from_json(written)
    assert record.to_json() == written
    assert record._replace(unfinished=True).to_json() == {**written, "unfinished": True}
    early = {name: written[name] for name in ("format", "root", "rootfs_digest", "user")}
    assert BundleRecord.from_json({**early, "of_a_newer_release": 5}) == BundleRecord(
        root="rootfs-1", rootfs_digest="sha256:r", user=user
    )
    assert BundleRecord.from_json({}) == BundleRecord()
