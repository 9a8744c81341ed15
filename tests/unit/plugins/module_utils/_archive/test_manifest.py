# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import manifest
from ansible_collections.longshore.oci.plugins.module_utils._archive.layout import Member
from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Container, Manifest, Software
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._criu.criu import Options
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition

pytestmark = pytest.mark.pure

WHOLE = Manifest(
    "web", created_at="2026-06-01T12:00:00Z", criu=Software("criu", "/usr/sbin/criu", "4.1"), options=Options(pre_dump=True),
    runtime=Software("crun", "/usr/bin/crun", "1.21"), kernel="6.12", architecture="x86_64",
    definition=Definition("/srv/web", runtime_args=("--x",)), config_digest="sha256:0", stop_signal=15, stop_timeout=2.5,
    started_at="2026-06-01T11:00:00Z", rootfs="complete", annotated=True, digest="sha256:1", size=2,
    members={"spec.dump": Member(2, "ab")}, links={"checkpoint/parent": "../pre-checkpoint"}, statistics={"pages_written": 0},
    export="/srv/web.tar", paused=True, from_archive=True, left_out=("listen",),
)  # fmt: skip


@pytest.mark.parametrize("value", [WHOLE, Manifest("web"), Manifest("web", statistics={}, links={})])
def test_what_is_written_is_read(value: Manifest) -> None:
    assert Manifest.from_json(json.loads(json.dumps(value.to_json()))) == value


def test_secrets_stay_at_home() -> None:
    found = WHOLE._replace(definition=Definition("/srv/web", conmon_env={"PIN": "1234"})).to_json()
    assert "1234" not in json.dumps(found)
    assert "conmon_env" not in found["definition"]


def test_what_is_not_known_of_a_new_one_is_null_or_missing() -> None:
    """As former releases write it: the fields that all have, and those that come later."""
    assert sorted(Manifest("web").to_json()) == [
        "annotated", "architecture", "config_digest", "created_at", "criu", "definition", "format", "kernel", "name", "options",
        "rootfs", "runtime", "started_at", "stop_signal", "stop_timeout",
    ]  # fmt: skip


def test_one_of_a_former_release() -> None:
    value = {
        "format": 1,
        "name": "web",
        "rootfs": None,
        "options": {"pre_dump": True, "of_another_release": 1},
        "criu": None,
    }
    assert Manifest.from_json(value) == Manifest("web", options=Options(pre_dump=True))


def test_what_podman_says() -> None:
    container = Container("web", "/usr/bin/crun", "2026-06-01T12:00:00Z", None, 9, 3)
    found = manifest.from_podman(container, {"root": {"path": "/x"}})
    assert (found.name, found.runtime, found.rootfs, found.definition) == ("web", Software("crun"), "changes", None)
    assert (found.created_at, found.stop_signal, found.stop_timeout) == ("2026-06-01T12:00:00Z", 9, 3)
    assert manifest.from_podman(Container(), {}).runtime == Software()


@pytest.mark.parametrize(
    ("name", "runtime"), [("crun", "crun"), ("runc", "runc"), ("youki", None), (None, None), ("crun-wasm", None)]
)
def test_runtimes_that_are_known(name: str | None, runtime: str | None) -> None:
    assert Manifest("web", runtime=Software(name)).runtime_name == runtime


def test_sizes_and_digest() -> None:
    found = Manifest("web").with_members({"spec.dump": Member(2, "ab"), "ctr.log": Member(5, "cd")})
    assert found.size == 7
    assert found.digest == Manifest("web").with_members({"spec.dump": Member(2, "ab")}).digest


@pytest.mark.parametrize(
    ("changes", "says"), [({"format": 2}, "has the format 2, which needs a newer release"), ({"name": "db"}, "is of the container db, not of web")]
)  # fmt: skip
def test_an_archive_that_was_not_asked_for(changes: dict[str, object], says: str) -> None:
    assert manifest.check(Manifest("web"), "web", "/x.tar").from_archive
    with pytest.raises(InvalidOption, match=says):
        manifest.check(Manifest("web")._replace(**changes), "web", "/x.tar")  # type: ignore[arg-type]
