# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._config import config, namespace_names
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

PATHS = Paths("web", state_dir="/state", run_dir="/run/longshore")


def test_what_a_launch_has_made_of_a_name_is_undone() -> None:
    spaces = [{"type": "mount"}, {"type": "network", "path": "container:db"}, {"type": "pid", "path": "/run/x"}]
    launched = config.effective(builders.config(linux={"namespaces": spaces}), builders.record(), PATHS)
    assert launched["linux"]["namespaces"] != spaces
    assert namespace_names.by_name(launched, PATHS.namespaces)["linux"]["namespaces"] == spaces


def test_a_config_without_namespaces() -> None:
    assert namespace_names.by_name({"a": 1}, PATHS.namespaces) == {"a": 1}


@pytest.mark.parametrize(
    "path", ["/run/longshore/containers/db/ns/network/web", "/run/longshore/containers/web/ns/networks"]
)
def test_a_path_of_another_container(path: str) -> None:
    given = {"linux": {"namespaces": [{"type": "network", "path": path}]}}
    assert namespace_names.by_name(given, PATHS.namespaces) == given
