# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._module import container, log_driver
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "k8s-file"), ({"service": False}, "k8s-file"), ({"log_tag": "web"}, "journald"),
        ({"log_tag": "web", "log_path": "/var/log/web"}, "k8s-file"), ({"log_size_max": "1m"}, "k8s-file"),
    ],
)  # fmt: skip
def test_the_parameters_name_the_driver(tmp_path: pathlib.Path, given: dict[str, t.Any], expected: str) -> None:
    params = {**dict.fromkeys(container.ARGUMENTS), "name": "web", "log_driver": "auto", **given}
    found = log_driver.resolved(Store(state_dir=f"{tmp_path}/s", run_dir=f"{tmp_path}/r"), params)
    assert found == {**params, "log_driver": expected}
