# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import default_config, rights, typed_documents
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._config import config, namespace_names, namespaces
from ansible_collections.longshore.oci.plugins.module_utils._container import joined_namespaces
from ansible_collections.longshore.oci.plugins.module_utils._container.create import Launch
from ansible_collections.longshore.oci.plugins.module_utils._host import userns
from ansible_collections.longshore.oci.plugins.module_utils._ports import network_helper
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

PATHS = Paths("web", state_dir="/state", run_dir="/run/longshore")
SHAPE = "linux.namespaces must be a list of objects with text for type and path"


class Case(t.NamedTuple):
    """What ``linux`` is, how it is read, and why it is refused (if it is)."""

    linux: t.Any
    found: dict[str, str]
    fault: str = ""


def _listed(*entries: t.Any) -> dict[str, t.Any]:
    return {"namespaces": list(entries)}


CASES = {
    "no linux": Case(..., {}),
    "linux null": Case(None, {}),
    "no namespaces": Case({}, {}),
    "null": Case({"namespaces": None}, {}),
    "empty": Case(_listed(), {}),
    "own": Case(_listed({"type": "pid"}, {"type": "user"}), {"pid": "", "user": ""}),
    "joined": Case(_listed({"type": "network", "path": "/run/netns/a"}), {"network": "/run/netns/a"}),
    "of a container": Case(_listed({"type": "pid", "path": "container:db"}), {"pid": "container:db"}),
    "an empty path": Case(_listed({"type": "network", "path": ""}), {"network": ""}),
    "no path": Case(_listed({"type": "network", "path": None}), {"network": ""}),
    "an unknown type": Case(_listed({"type": "flux"}), {"flux": ""}),
    "another field": Case(_listed({"type": "pid", "x": 1}), {"pid": ""}),
    "twice": Case(
        _listed({"type": "network", "path": "/run/netns/a"}, {"type": "network"}), {"network": ""},
        "linux.namespaces has the type 'network' twice",
    ),
    "twice, joined last": Case(
        _listed({"type": "pid"}, {"type": "user"}, {"type": "pid", "path": "/run/x"}), {"pid": "/run/x", "user": ""},
        "linux.namespaces has the type 'pid' twice",
    ),
    "a relative path": Case(
        _listed({"type": "network", "path": "netns/a"}), {"network": "netns/a"},
        "linux.namespaces has the path 'netns/a', which is not absolute",
    ),
    "an object": Case({"namespaces": {"type": "pid"}}, {}, SHAPE),
    "a text": Case({"namespaces": "pid"}, {}, SHAPE),
    "a number": Case({"namespaces": 5}, {}, SHAPE),
    "texts": Case(_listed("pid", {"type": "user"}), {"user": ""}, SHAPE),
    "no type": Case(_listed({"path": "/run/netns/a"}), {}, SHAPE),
    "a type of a number": Case(_listed({"type": 5}), {}, SHAPE),
    "a path of a list": Case(_listed({"type": "network", "path": ["/x"]}), {}, SHAPE),
}  # fmt: skip
GOOD = {name: case for name, case in CASES.items() if not case.fault}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_good = pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)


def _config(case: Case, **changes: t.Any) -> dict[str, t.Any]:
    linux = {} if case.linux is ... else {"linux": case.linux}
    return builders.config(**linux, **changes)


@each_case
def test_the_reader(case: Case) -> None:
    assert namespaces.namespaces_of(_config(case)) == case.found
    assert namespaces.fault(_config(case)) == case.fault


@each_case
def test_a_bundle(case: Case, tmp_path: pathlib.Path) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(_config(case)), encoding="utf-8")
    if case.fault:
        with pytest.raises(InvalidOption) as refused:
            config.read_bundle(str(tmp_path))
        assert refused.value.message == f"{tmp_path}/config.json is not valid: {case.fault}."
    else:
        assert namespaces.namespaces_of(config.read_bundle(str(tmp_path))) == case.found


@each_case
def test_an_archive(case: Case) -> None:
    text = json.dumps(_config(case)).encode()
    damaged = typed_documents.damaged_archive("/x.tar")
    if case.fault:
        with pytest.raises(
            InvalidOption, match=r"^/x\.tar is not an archive of a checkpoint, or it is damaged: spec\.dump "
        ):
            typed_documents.spec(text, damaged)
    else:
        assert namespaces.namespaces_of(typed_documents.spec(text, damaged)) == case.found


@pytest.mark.impure
@each_case
def test_a_launch(case: Case) -> None:
    """Whether a part of a launch is needed; of a recorded config too, which was not looked at again."""
    launch = Launch(builders.record(), _config(case))
    assert launch.is_plain == ("user" not in case.found)


@each_good
def test_what_a_launch_gets_and_a_checkpoint_has(case: Case) -> None:
    launched = config.effective(_config(case), builders.record(), PATHS)
    expected = {
        kind: f"{PATHS.namespaces}/{kind}/db" if path == "container:db" else path for kind, path in case.found.items()
    }
    assert namespaces.namespaces_of(launched) == expected
    assert joined_namespaces.peers(launched, PATHS) == ({"pid": "db"} if "container:db" in case.found.values() else {})
    assert namespaces.namespaces_of(namespace_names.by_name(launched, PATHS.namespaces)) == case.found


@each_case
def test_rights_and_defaults(case: Case) -> None:
    asked, allowed = _config(case), builders.config(linux=_listed({"type": "network"}))
    more = rights.excess(asked, allowed)
    path = case.found.get("network")
    assert ("the network namespace of the host" in more) == (path is None)
    assert (f"the network namespace {path}" in more) == bool(path)
    own = [kind for kind in sorted(case.found) if kind != "network"]
    assert rights.differences(asked, allowed) == [f"it has a {kind} namespace of its own" for kind in own]
    within = default_config.within({**asked, "mounts": []}, "/r", generated=lambda _mount: False)
    assert list(namespaces.namespaces_of(within)) == list(default_config.NAMESPACES)


@pytest.mark.impure
@each_case
def test_a_network_helper(case: Case) -> None:
    definition = builders.definition(network_helper="pasta")
    if case.found.get("network") == "":
        network_helper.check(definition, _config(case), PATHS, None)
        return
    with pytest.raises(InvalidOption, match="needs a container with its own network namespace"):
        network_helper.check(definition, _config(case), PATHS, None)


@pytest.mark.impure
@each_case
def test_mapped_users(case: Case, tmp_path: pathlib.Path) -> None:
    """The directories of pytest are closed to whom a container's root is on the host."""
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    linux = case.linux if isinstance(case.linux, dict) else {}
    found = {"root": {"path": str(tmp_path)}, "linux": {**linux, "uidMappings": mapping, "gidMappings": mapping}}
    assert (userns.barrier(found) is not None) == ("user" in case.found)
