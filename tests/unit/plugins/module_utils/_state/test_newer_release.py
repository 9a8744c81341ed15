# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that a newer release has written."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._state import newer_release
from ansible_collections.longshore.oci.plugins.module_utils._state.model import RECORD_FORMAT
from ansible_collections.longshore.oci.plugins.module_utils._state.phase import PHASES

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("definition", [{"log_driver": "none", "bundle": "/x"}, {"log_driver": 7}, [], None])
def test_choices_that_this_release_knows(definition: t.Any) -> None:
    newer_release.check_record(
        "web", {"format": RECORD_FORMAT, "phase": "running", "definition": definition, "cgroup_manager": "systemd"}
    )


@pytest.mark.parametrize("phase", [*sorted(PHASES), None, 7])
def test_what_this_release_knows(phase: t.Any) -> None:
    newer_release.check_record("web", {"format": RECORD_FORMAT, "phase": phase})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"format": 2, "phase": "running"}, "has the format 2, but this release supports 1"),
        ({"phase": "running"}, "has the format None, but this release supports 1"),
        ({"format": 1, "phase": "dreaming"}, "has the phase 'dreaming', which this release does not know"),
        (
            {"format": 1, "phase": "running", "cgroup_manager": "other"},
            "has the cgroup_manager 'other', which this release does not know",
        ),
        (
            {"format": 1, "phase": "running", "definition": {"log_driver": "json-file"}},
            "has the log_driver 'json-file', which this release does not know",
        ),
        (
            {"format": 1, "phase": "running", "definition": {"network_helper": "vde"}},
            "has the network_helper 'vde', which this release does not know",
        ),
    ],
)
def test_what_it_does_not_know(value: dict[str, t.Any], said: str) -> None:
    with pytest.raises(LongshoreError) as caught:
        newer_release.check_record("web", value)
    assert caught.value.message == f"The record of the container web {said}."
    assert "newer release" in caught.value.hint
