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


SPELLINGS = ["at/", "at//.", "other/../at", "link", "link/"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("option", ["bundle", "runtime", "runtime_root", "conmon", "log_path", "conmon_pidfile"])
def test_another_spelling_of_a_path_is_no_difference(tmp_path: pathlib.Path, option: str, spelling: str) -> None:
    (tmp_path / "at").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("at")
    record = builders.record(definition=builders.definition(**{option: f"{tmp_path}/at"}))
    paths: list[t.Any] = [f"{tmp_path}/{spelling}", f"{tmp_path}/other"]
    same, other = (record.definition._replace(**{option: path}) for path in paths)
    assert changes.definition_changes(same, record) == {}
    assert list(changes.definition_changes(other, record)) == [f"launch.{option}"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_of_the_bundle_has_the_same_config(tmp_path: pathlib.Path, spelling: str) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    (tmp_path / "at" / "rootfs").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("at")
    bind = {"destination": "/data", "type": "bind", "source": "data", "options": ["bind"]}
    (tmp_path / "at" / "config.json").write_text(json.dumps(builders.config(mounts=[bind])), encoding="utf-8")
    record = builders.record(definition=builders.definition(bundle=f"{tmp_path}/at"))
    saved = config.effective(config.read_bundle(f"{tmp_path}/at"), record, store.paths("web"))
    path = pathlib.Path(store.paths("web").config)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(saved), encoding="utf-8")
    wanted = record.definition._replace(bundle=f"{tmp_path}/{spelling}")
    assert changes.compare(store, Desired("web", definition=wanted), wanted, record)[0] == {}


def test_a_link_to_another_bundle_is_a_difference(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    for name in ("one", "two"):
        (tmp_path / name / "rootfs").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(json.dumps(builders.config()), encoding="utf-8")
    (tmp_path / "link").symlink_to("one")
    record = builders.record(definition=builders.definition(bundle=f"{tmp_path}/link"))
    path = pathlib.Path(store.paths("web").config)
    path.parent.mkdir(parents=True)
    saved = config.effective(config.read_bundle(f"{tmp_path}/link"), record, store.paths("web"))
    # As earlier releases wrote it.
    saved["root"]["path"] = f"{tmp_path}/link/rootfs"
    for text, found in ((saved, []), ({**saved, "root": {"path": f"{tmp_path}/one/rootfs"}}, ["config.root.path"])):
        path.write_text(json.dumps(text), encoding="utf-8")
        wanted = Desired("web", definition=record.definition)
        assert changes.compare(store, wanted, record.definition, record)[0] == {}
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("two")
        assert list(changes.compare(store, wanted, record.definition, record)[0]) == found
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("one")


def test_an_interrupted_create_has_no_differences(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    assert changes.compare(store, Desired("web"), RECORD.definition, RECORD) == ({}, {}, [])


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
    assert changes.compare(store, Desired("web"), definition, record) == ({}, {}, [])
    desired = Desired("web", definition=definition, stop_signal=12, timeouts=Timeouts(stop=3))
    new, settings, _older = changes.compare(store, desired, definition, record)
    assert new == {"config.hostname": ("other", None)}
    assert settings == {"stop_signal": (15, 12), "stop_timeout": (7, 3)}


def test_a_changed_host_makes_no_new_container(tmp_path: pathlib.Path) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    bundle, annotations = tmp_path / "bundle", {"longshore.oci.asked": "sha256:1"}
    (bundle / "rootfs").mkdir(parents=True)
    record = RECORD.replace(definition=RECORD.definition._replace(bundle=str(bundle)))
    saved = config.effective(
        config.read_bundle(_written(bundle, builders.config(annotations=annotations))), record, store.paths("web")
    )
    path = pathlib.Path(store.paths("web").config)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(saved), encoding="utf-8")
    desired = Desired("web", definition=record.definition)
    now = builders.config(annotations=annotations, linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}})
    _written(bundle, now)
    assert changes.compare(store, desired, record.definition, record) == ({}, {}, ["linux.seccomp"])
    # A bundle of another origin, or one whose task has changed, too.
    for other in ({}, {"longshore.oci.asked": "sha256:2"}):
        _written(bundle, {**now, "annotations": other})
        found = changes.compare(store, desired, record.definition, record)
        assert found == ({"config.linux.seccomp.defaultAction": (None, "SCMP_ACT_ALLOW")}, {}, [])


@pytest.mark.parametrize("there", [True, False])
def test_a_device_has_another_number_by_now(tmp_path: pathlib.Path, there: bool) -> None:
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    bundle, source = tmp_path / "bundle", "/dev/null" if there else f"{tmp_path}/gone"
    (bundle / "rootfs").mkdir(parents=True)
    record = RECORD.replace(definition=RECORD.definition._replace(bundle=str(bundle)))
    notes = {"longshore.oci.asked": "sha256:1", "longshore.oci.devices": json.dumps({"/dev/x": source})}

    def text(minor: int) -> dict[str, t.Any]:
        device = {"path": "/dev/x", "type": "c", "major": 1, "minor": minor}
        return builders.config(annotations=notes, linux={"devices": [device]})

    paths, desired = store.paths("web"), Desired("web", definition=record.definition)
    saved = config.effective(config.read_bundle(_written(bundle, text(9))), record, paths)
    for path in map(pathlib.Path, (paths.config, f"{paths.bundle}/config.json")):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(saved), encoding="utf-8")
    found = changes.compare(store, desired, record.definition, record)
    assert found == ({}, {}, ["linux.devices"] if there else [])
    # A service that was started since then has it. Its saved config has what it was created with.
    linux = {**saved["linux"], "devices": text(3)["linux"]["devices"]}
    pathlib.Path(f"{paths.bundle}/config.json").write_text(json.dumps({**saved, "linux": linux}), encoding="utf-8")
    if there:
        assert changes.compare(store, desired, record.definition, record) == ({}, {}, [])


def _written(bundle: pathlib.Path, text: dict[str, t.Any]) -> str:
    (bundle / "config.json").write_text(json.dumps(text), encoding="utf-8")
    return str(bundle)
