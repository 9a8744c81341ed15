# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which launch options differ from those of the record."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._config import config
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import changes
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Desired, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

RECORD = builders.record(definition=builders.definition(runtime="auto", exit_command=("/x",)), log_path="/log")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, {}),
        # Naming just what was taken is no difference.
        ({"runtime": "runc", "conmon": "/usr/bin/conmon", "cgroup_manager": "cgroupfs"}, {}),
        ({"runtime": "/usr/sbin/runc", "runtime_root": "/run/longshore/runc", "log_path": "/log"}, {}),
        ({"runtime": "crun"}, {"launch.runtime": ("auto", "crun")}),
        ({"conmon": "/opt/conmon"}, {"launch.conmon": (None, "/opt/conmon")}),
        ({"log_path": "/other"}, {"launch.log_path": (None, "/other")}),
        # As in JSON.
        ({"exit_command": ("/x", "y")}, {"launch.exit_command": (["/x"], ["/x", "y"])}),
        ({"conmon_env": {"A": "secret"}}, {"launch.conmon_env": ("(hidden)", "(hidden, new)")}),
    ],
)  # fmt: skip
def test_launch_options(wanted: dict[str, t.Any], found: dict[str, t.Any]) -> None:
    assert changes.definition_changes(RECORD.definition._replace(**wanted), RECORD) == found


def test_an_interrupted_create_has_no_differences(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    assert changes.compare(store, Desired("web"), RECORD.definition, RECORD) == ({}, {})


def test_the_saved_config_and_the_stop_settings(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    bundle = tmp_path / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps(builders.config()), encoding="utf-8")
    definition = RECORD.definition._replace(bundle=str(bundle))
    record = RECORD.replace(definition=definition, stop_signal=15, stop_timeout=7)
    saved = config.effective(config.read_bundle(str(bundle)), record, store.paths("web"))
    path = pathlib.Path(store.paths("web").config)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**saved, "hostname": "other"}), encoding="utf-8")
    assert changes.compare(store, Desired("web"), definition, record) == ({}, {})
    desired = Desired("web", definition=definition, stop_signal=12, timeouts=Timeouts(stop=3))
    new, settings = changes.compare(store, desired, definition, record)
    assert new == {"config.hostname": ("other", None)}
    assert settings == {"stop_signal": (15, 12), "stop_timeout": (7, 3)}
