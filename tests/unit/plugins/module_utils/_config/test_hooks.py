# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every hook that reaches a runtime has an environment that is not the container's."""

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User
from ansible_collections.longshore.oci.plugins.module_utils._base.capabilities import CAPABILITIES
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._base.program import SEARCH_PATH
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import spec
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.image_document import ImageConfig
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Facts, Options
from ansible_collections.longshore.oci.plugins.module_utils._config import config, hooks
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

PATHS = Store(state_dir="/state", run_dir="/run").paths("web")
KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
ALL = {kind: [{"path": f"/{kind}", "args": [kind]}, {"path": "/own", "env": ["A=1"]}] for kind in KINDS}
EVIL = {"args": ["x"], "cwd": "/", "env": ["LD_PRELOAD=./evil.so", "PATH=/evil"]}


def _effective(**changes: t.Any) -> dict[str, t.Any]:
    program = Program("conmon", "/usr/bin/conmon", "2.1.12")
    definition = {name: changes.pop(name) for name in list(changes) if name == "network_helper"}
    record = builders.record(definition=builders.definition(**definition), conmon=program)
    return config.effective(builders.config(process=EVIL, **changes), record, PATHS)


def _environments(found: t.Mapping[str, t.Any]) -> list[list[str]]:
    return [hook["env"] for entries in found["hooks"].values() for hook in entries]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("empty", [{}, {"env": None}, {"env": []}])
def test_every_hook_of_a_bundle_has_an_environment(kind: str, empty: dict[str, t.Any]) -> None:
    found = _effective(hooks={kind: [{"path": "/hook", **empty}]})
    assert _environments(found) == [[f"PATH={SEARCH_PATH}"]]


def test_one_that_is_given_stays() -> None:
    found = _effective(hooks=ALL)
    assert _environments(found) == [[f"PATH={SEARCH_PATH}"], ["A=1"]] * len(KINDS)
    assert config.effective(found, builders.record(), PATHS)["hooks"] == found["hooks"]


def test_ours_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for helper in ("pasta", "slirp4netns"):
        assert _environments(_effective(network_helper=helper)) == [[f"PATH={SEARCH_PATH}"]]
        assert _environments(_effective(network_helper=helper, hooks=ALL))[-1:] == [["A=1"]]


def test_a_record_of_an_older_release_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container is made again from its recorded config, which may have been written without."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = _effective(network_helper="pasta")
    old = {**found, "hooks": {"createContainer": [{**found["hooks"]["createContainer"][0], "env": None}]}}
    record = builders.record(definition=builders.definition(network_helper="pasta"))
    assert config.effective(old, record, PATHS)["hooks"] == found["hooks"]


@pytest.mark.parametrize("options", [{"hooks": ALL}, {"spec": {"hooks": ALL}}])
def test_those_of_oci_bundle_have_one(options: dict[str, t.Any]) -> None:
    """Whether they come by the option of that name or by ``spec``."""
    facts = Facts("amd64", CAPABILITIES, cgroup2=True, uid=0, gid=0)
    image = ImageConfig(cmd=("x",), env=(("LD_PRELOAD", "./evil.so"),))
    found = spec.make(image, Options(**options), facts, User(), "/srv/web")
    assert _environments(found) == [[f"PATH={SEARCH_PATH}"], ["A=1"]] * len(KINDS)


def test_what_is_given_is_not_changed() -> None:
    given = {"poststop": [{"path": "/hook"}]}
    hooks.checked(given)
    assert given == {"poststop": [{"path": "/hook"}]}
    assert hooks.checked({"poststop": None, "prestart": []}) == {"poststop": [], "prestart": []}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "must be an object"),
        (["x"], "must be an object"),
        ("text", "must be an object"),
        (5, "must be an object"),
        ({"before": []}, "before must be one of prestart"),
        ({5: []}, "5 must be one of"),
        ({"prestart": {"path": "/x"}}, "prestart must be a list"),
        ({"prestart": "/x"}, "prestart must be a list"),
        ({"prestart": ["/x"]}, "absolute path"),
        ({"prestart": [None]}, "absolute path"),
        ({"prestart": [[]]}, "absolute path"),
        ({"prestart": [{}]}, "absolute path"),
        ({"prestart": [{"path": None}]}, "absolute path"),
        ({"prestart": [{"path": 5}]}, "absolute path"),
        ({"prestart": [{"path": ""}]}, "absolute path"),
        ({"prestart": [{"path": "bin/sh"}]}, "absolute path"),
        ({"prestart": [{"path": "./sh"}]}, "absolute path"),
        ({"prestart": [{"path": "/bin/\0sh"}]}, "absolute path"),
        ({"poststop": [{"path": "/x"}, {"path": "x"}]}, "poststop must be"),
        ({"prestart": [{"path": "/x", "args": "x"}]}, "args of /x"),
        ({"prestart": [{"path": "/x", "args": [1]}]}, "args of /x"),
        ({"prestart": [{"path": "/x", "args": {"a": "b"}}]}, "args of /x"),
        ({"prestart": [{"path": "/x", "args": ["a\0"]}]}, "args of /x"),
        ({"prestart": [{"path": "/x", "env": "A=1"}]}, "env of /x"),
        ({"prestart": [{"path": "/x", "env": {"A": "1"}}]}, "env of /x"),
        ({"prestart": [{"path": "/x", "env": [None]}]}, "env of /x"),
        ({"prestart": [{"path": "/x", "env": 0}]}, "env of /x"),
        ({"prestart": [{"path": "/x", "timeout": 0}]}, "timeout of /x"),
        ({"prestart": [{"path": "/x", "timeout": -1}]}, "timeout of /x"),
        ({"prestart": [{"path": "/x", "timeout": 1.5}]}, "timeout of /x"),
        ({"prestart": [{"path": "/x", "timeout": "5"}]}, "timeout of /x"),
        ({"prestart": [{"path": "/x", "timeout": True}]}, "timeout of /x"),
    ],
)
def test_what_the_runtime_spec_does_not_know_is_refused(value: t.Any, says: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        hooks.checked(value)
    assert says in str(refused.value)
    if value:
        with pytest.raises(InvalidOption):
            _effective(hooks=value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"poststop": [{"path": "/x", "arg": ["a"]}]}, "'arg' is no key of a hook (poststop). Did you mean args?"),
        ({"prestart": [{"path": "/x"}, {"path": "/x", "Args": []}]}, "'Args' is no key of a hook (prestart). Did you mean args?"),
        ({"poststart": [{"path": "/x", "environment": ["A=1"]}]}, "'environment' is no key of a hook (poststart). It has path, args"),
        ({"poststart": [{"path": "/x", "timeouts": 5}]}, "Did you mean timeout?"),
        ({"createRuntime": [{"path": "/x", 5: None}]}, "'5' is no key of a hook (createRuntime)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("option", ["hooks", "spec"])
def test_a_task_gives_a_hook_no_key_that_it_does_not_have(value: dict[str, t.Any], says: str, option: str) -> None:
    facts = Facts("amd64", CAPABILITIES, cgroup2=True, uid=0, gid=0)
    given: dict[str, t.Any] = {option: value if option == "hooks" else {"hooks": value}}
    options = Options(argv=("x",), **given)
    with pytest.raises(InvalidOption) as refused:
        spec.make(ImageConfig(), options, facts, User(), "/srv/web")
    assert says in str(refused.value)
    # A runtime ignores it in a config that others have made.
    assert _effective(hooks=value)["hooks"].keys() == value.keys()
