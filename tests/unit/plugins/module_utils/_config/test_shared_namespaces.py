# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._config import config
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

PATHS = Paths("web", state_dir="/state", run_dir="/run/longshore")


def test_a_config_has_the_name_and_a_launch_a_path() -> None:
    spaces = [{"type": "mount"}, {"type": "network", "path": "container:db"}, {"type": "pid", "path": "/run/x"}]
    source = builders.config(linux={"namespaces": spaces})
    launched = config.effective(source, builders.record(), PATHS)
    assert [each.get("path") for each in launched["linux"]["namespaces"]] == [
        None, "/run/longshore/containers/web/ns/network/db", "/run/x",
    ]  # fmt: skip
    # The same again from what is recorded; and what the bundle says is left as it is.
    assert config.effective(launched, builders.record(), PATHS) == launched
    assert source["linux"]["namespaces"] == spaces
