# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.restore_config import (
    PODMAN_MOUNTS,
    agreed,
    restore_config,
)
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders, stored

pytestmark = pytest.mark.pure


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _restored(
    store: Store, bundle: object = "/srv/web", *, given: bool = False, trusted: bool = False, **changes: t.Any
) -> dict[str, t.Any]:
    definition = Definition(str(bundle))
    return restore_config(store, "web", stored.whole(**changes), definition, None, bundle_given=given, trusted=trusted)


def test_the_config_that_it_had(store: Store) -> None:
    annotations = {"io.container.manager": "libpod", "a": "b"}
    found = _restored(store, spec={**stored.SPEC, "annotations": annotations}, annotated=True)
    assert found == {**stored.SPEC, "annotations": {"a": "b"}, "mounts": []}
    found = _restored(store, spec={**stored.SPEC, "annotations": annotations})
    assert found["annotations"] == annotations  # Its own, then.


def test_another_bundle(store: Store, tmp_path: pathlib.Path) -> None:
    assert _restored(store, tmp_path, given=True)["root"]["path"] == f"{tmp_path}/rootfs"
    (tmp_path / "root").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(builders.config(root={"path": "root"})))
    assert _restored(store, tmp_path, given=True)["root"]["path"] == f"{tmp_path}/root"
    with pytest.raises(InvalidOption, match="must be given as an absolute path"):
        _restored(store, "relative", given=True)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "no valid config of a container"), ({"root": {}, "process": 5}, "no valid config"),
        ({**stored.SPEC, "mounts": [{"destination": "/x", "type": "bind", "source": "/not/here"}]}, "/not/here mounted at /x, which does not exist"),
        ({**stored.SPEC, "linux": {"namespaces": [{"type": "network", "path": "/run/netns/none"}]}}, "is in the network namespace /run/netns/none"),
    ],
)  # fmt: skip
def test_what_this_host_has_not(store: Store, spec: dict[str, t.Any], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        _restored(store, spec=spec)


def test_a_namespace_of_another_container_is_looked_for_later(store: Store) -> None:
    spaces = {"namespaces": [{"type": "network", "path": "container:db"}]}
    assert _restored(store, spec={**stored.SPEC, "linux": spaces})["linux"] == spaces


def test_what_podman_has_mounted_comes_from_the_state_directory(store: Store) -> None:
    mounts = [
        {"destination": where, "type": "bind", "source": f"/var/lib/containers/storage/x/userdata{where}"}
        for where in PODMAN_MOUNTS
    ]
    found = _restored(store, spec={**stored.SPEC, "mounts": mounts}, definition=None)
    state = store.paths("web").state
    assert [mount["source"] for mount in found["mounts"]] == [f"{state}/mounts{where}" for where in PODMAN_MOUNTS]


def test_of_an_archive_this_host_decides(store: Store, tmp_path: pathlib.Path) -> None:
    """By the config of the bundle, else within the defaults; by the archive only where that is trusted."""
    evil = {**stored.SPEC, "hooks": {"poststop": [{"path": "/evil"}]}, "annotations": {"run.oci.x": "1"}}
    (tmp_path / "rootfs").mkdir()
    found = _restored(store, tmp_path, given=True, spec=evil, from_archive=True)
    assert ("hooks" in found, found["annotations"], found["root"]["path"]) == (False, {}, f"{tmp_path}/rootfs")
    (tmp_path / "config.json").write_text(json.dumps(builders.config(hostname="here")))
    assert _restored(store, tmp_path, given=True, spec=evil, from_archive=True)["hostname"] == "here"
    trusted = _restored(store, tmp_path, given=True, trusted=True, spec=evil, from_archive=True)
    assert ("hooks" in trusted, trusted["annotations"]) == (True, {})
    with pytest.raises(InvalidOption, match="must be given as an absolute path"):
        _restored(store, "relative", given=True, spec=evil, from_archive=True)


def test_limits_of_the_archive_are_added() -> None:
    here = builders.config(linux={"maskedPaths": ["/a"]})
    asked = builders.config(
        root={"path": "/x", "readonly": True},
        linux={"maskedPaths": ["/a", "/b", "c", "/../d"], "readonlyPaths": ["/e"]},
    )
    found = agreed(asked, here)
    assert found["linux"] == {"maskedPaths": ["/a", "/b"], "readonlyPaths": ["/e"]}
    assert found["root"] == {"path": "rootfs", "readonly": True}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"mounts": [{"destination": "/x", "type": "bind", "source": "/etc"}]}, "more than the bundle allows: a mount of /etc at /x"),
        ({"linux": {"namespaces": [{"type": "user"}]}}, "does not fit the bundle: it has a user namespace of its own"),
    ],
)  # fmt: skip
def test_what_the_bundle_does_not_allow(asked: dict[str, t.Any], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        agreed(builders.config(**asked), builders.config(linux={}))
