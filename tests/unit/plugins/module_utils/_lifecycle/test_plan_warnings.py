# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Warnings of a plan that leaves something as it is."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import plan_warnings
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Status
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

GONE = "The network helper of web has ended, so the container has no network. state=restarted creates the container again, with network."


@pytest.mark.parametrize(
    ("paths", "disconnected", "stays", "warnings"),
    [
        ((), False, True, ()),
        ((), True, False, ()),
        ((), True, True, (GONE,)),
        (("b", "a"), False, True,
         ("The definition of web differs (a, b), but recreate=never keeps the container as it is.",)),
        (tuple("gfedcba"), True, True,
         ("The definition of web differs (a, b, c, d, e and 2 more), but recreate=never keeps the container as it is.", GONE)),
    ],
)  # fmt: skip
def test_warnings(paths: tuple[str, ...], disconnected: bool, stays: bool, warnings: tuple[str, ...]) -> None:
    observed = builders.observed(Status.RUNNING, disconnected=disconnected)
    assert plan_warnings.plan_warnings(observed, dict.fromkeys(paths, (1, 2)), stays=stays) == warnings


UNMONITORED = (
    "conmon of web has ended, so its output is lost, and its exit code will not be known. state=restarted creates the container again,"
    " with conmon."
)


@pytest.mark.parametrize("status", list(Status))
def test_a_container_without_conmon(status: Status) -> None:
    observed = builders.observed(status, monitored=False)
    lost = (UNMONITORED,) if status in (Status.RUNNING, Status.PAUSED) else ()
    assert plan_warnings.plan_warnings(observed, {}, stays=True) == lost
    assert plan_warnings.plan_warnings(observed, {}, stays=False) == ()


@pytest.mark.parametrize("stays", [True, False])
def test_a_host_that_has_changed(stays: bool) -> None:
    observed = builders.observed(Status.RUNNING)
    text = (
        "The host has something else by now than web was created with (linux.seccomp, mounts). The container stays as it is."
        " state=restarted with its bundle creates it again, with what the host has."
    )
    found = plan_warnings.plan_warnings(observed, {}, stays=stays, older=["mounts", "linux.seccomp"])
    assert found == ((text,) if stays else ())
