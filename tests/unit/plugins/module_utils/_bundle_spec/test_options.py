# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import BundleRecord

pytestmark = pytest.mark.pure


def test_a_record_is_read_as_it_was_written() -> None:
    record = BundleRecord(
        "rootfs", "sha256:1", "copy", {"name": "web"}, "docker://web", (1, 2), level="s0", user={"uid": 5}
    )
    written = json.loads(json.dumps(record.to_json()))
    found = BundleRecord.from_json(written)
    assert found._replace(stamp=tuple(found.stamp)) == record
    assert "unfinished" not in written


def test_one_that_is_not_complete_says_so() -> None:
    assert BundleRecord.from_json(BundleRecord(unfinished=True).to_json()).unfinished


def test_what_a_former_or_later_release_wrote() -> None:
    assert BundleRecord.from_json({}) == BundleRecord()
    assert BundleRecord.from_json({"root": "rootfs", "removing": True, "colour": "blue"}) == BundleRecord("rootfs")
