# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Outcome
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import (
    Action,
    BundleRecord,
    Options,
    Plan,
    Request,
)
from ansible_collections.longshore.oci.plugins.module_utils._module import bundle, secret_values

pytestmark = pytest.mark.pure


def _params(**given: t.Any) -> dict[str, t.Any]:
    """What Ansible makes of a task's arguments."""
    defaults = {name: spec.get("default") for name, spec in bundle.ARGUMENTS.items()}
    return {**defaults, "path": "/srv/web", **given}


class TestRequest:
    def test_an_image(self) -> None:
        found = bundle.request(_params(image="oci:/srv/layout:web"))
        assert found == Request("/srv/web", image="oci:/srv/layout:web")

    def test_each_option_of_a_config_has_an_argument(self) -> None:
        assert set(bundle.OPTION_ARGUMENTS) == set(Options._fields)

    def test_what_is_given_stands_in_the_options(self) -> None:
        given = {"env": {"A": 1}, "mounts": ["/a:/b"], "memory": "1g", "tty": True, "cpus": 0.5, "argv": ["a", "b"]}
        found = bundle.request(_params(image="x", **given))
        expected: dict[str, t.Any] = {**given, "mounts": ("/a:/b",), "argv": ("a", "b")}
        assert found.options == Options(**expected)

    @pytest.mark.parametrize("value", [True, False, None, 1.1, ["a"], {"a": "b"}])
    def test_a_word_is_what_the_task_says(self, value: object) -> None:
        """Of a yes in YAML, Ansible would make the text True."""
        for name in ("argv", "entrypoint"):
            with pytest.raises(InvalidOption, match=f"{name}: word 2 must be text") as refused:
                bundle.request(_params(image="x", **{name: ["app", value, "x"]}))
            assert refused.value.hint == "Put it in quotes."
        if value is not None:  # None: it is not given.
            with pytest.raises(InvalidOption, match="hostname: the value must be text"):
                bundle.request(_params(image="x", hostname=value))

    def test_a_number_is_a_word(self) -> None:
        options = bundle.request(_params(image="x", argv=["sleep", 60, "yes", ""], entrypoint=[7], hostname=5)).options
        assert (options.argv, options.entrypoint, options.hostname) == (("sleep", "60", "yes", ""), ("7",), "5")
        assert bundle.request(_params(image="x", entrypoint=[])).options.entrypoint == ()

    def test_a_command_is_split_as_a_shell_does(self) -> None:
        assert bundle.request(_params(image="x", command="sh -c 'a b'")).options.argv == ("sh", "-c", "a b")
        with pytest.raises(InvalidOption, match="command cannot be split into words") as refused:
            bundle.request(_params(image="x", command="sh -c 'a"))
        assert "argv" in refused.value.hint

    @pytest.mark.parametrize(("path", "found"), [("/srv/web/", "/srv/web"), ("/srv/web//", "/srv/web"), ("/", "/")])
    def test_a_slash_at_the_end(self, path: str, found: str) -> None:
        assert bundle.request(_params(path=path, image="x")).path == found

    def test_absent(self) -> None:
        assert bundle.request(_params(state="absent")) == Request("/srv/web", absent=True)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"rootfs": "/x", "platform": "linux/arm64"}, "It cannot be used with rootfs"), ({"timeout": 0}, "more than 0 seconds"),
            ({"timeout": float("nan")}, "timeout must be a number of seconds up to"), ({"timeout": float("inf")}, "not inf"),
            ({"timeout": 1e13}, "timeout must be a number"), ({"timeout": -float("inf")}, "more than 0 seconds"),
            ({"timeout": -1.0}, "more than 0 seconds"), ({"path": "/a\nb"}, "path cannot have control characters"),
            ({"rootfs": "/a\0b"}, "rootfs cannot have control characters"),
        ],
    )  # fmt: skip
    def test_what_makes_no_sense(self, given: dict[str, t.Any], message: str) -> None:
        with pytest.raises(InvalidOption, match=message):
            bundle.request(_params(**given))


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ({"prestart": [{"path": "/x", "env": ["A=b", "C"]}]}, {"prestart": [{"path": "/x", "env": ["A=*", "*"]}]}),
        ({"process": {"env": {"A": "b"}, "args": ["A=b"]}}, {"process": {"env": {"A": "*"}, "args": ["A=b"]}}),
        ({"env": None}, {"env": None}), ({"env": [None, 1]}, {"env": [None, "*"]}), (None, None),
    ],
)  # fmt: skip
def test_the_values_of_environments_are_hidden(value: t.Any, hidden: t.Any) -> None:
    def mark(each: t.Any) -> t.Any:
        if isinstance(each, dict):
            return {name: mark(inner) for name, inner in each.items()}
        if isinstance(each, list):
            return [mark(inner) for inner in each]
        return each.replace("*", secret_values.HIDDEN) if isinstance(each, str) else each

    assert secret_values.hide_environments(value) == mark(hidden)


class TestResult:
    RECORD = BundleRecord(
        config_digest="sha256:1", root="rootfs-1", rootfs_digest="sha256:2",
        image={"reference": "oci:/x:1", "platform": None, "digest": "sha256:3", "manifest": "sha256:4"},
    )  # fmt: skip

    def _result(
        self, plan: Plan, *, existed: bool = True, record: t.Any = None, warnings: tuple[str, ...] = ()
    ) -> t.Any:
        said: list[str] = []
        module: t.Any = types.SimpleNamespace(params={"path": "/srv/web/"}, warn=said.append)
        outcome = Outcome(plan, plan.actions, existed, self.RECORD if record is None else record, warnings)
        found = bundle.result(module, outcome)
        assert tuple(said) == warnings
        return found

    def test_one_that_is_there(self) -> None:
        found = self._result(Plan(()), warnings=("one", "two"))
        assert (found["changed"], found["actions"]) == (False, [])
        assert found["diff"] == {"before": {"state": "present"}, "after": {"state": "present"}}
        assert found["bundle"] == {
            "path": "/srv/web", "config_digest": "sha256:1", "rootfs": "/srv/web/rootfs-1", "rootfs_digest": "sha256:2",
            "image": {"reference": "oci:/x:1", "platform": None, "digest": "sha256:3"},
        }  # fmt: skip

    def test_one_that_changes(self) -> None:
        differences = {"$.process.args": (["a"], ["b"]), "$.new": (None, 1), "$.old": (1, None)}
        found = self._result(Plan((Action.CONFIG,), differences=differences))
        assert (found["changed"], found["actions"]) == (True, ["config"])
        assert found["diff"]["before"] == {"state": "present", "$.process.args": ["a"], "$.old": 1}
        assert found["diff"]["after"] == {"state": "present", "$.process.args": ["b"], "$.new": 1}

    def test_one_that_comes_or_goes(self) -> None:
        made = self._result(Plan((Action.ROOTFS, Action.CONFIG), differences={"$.a": (None, 1)}), existed=False)
        assert made["diff"] == {"before": {"state": "absent"}, "after": {"state": "present"}}
        removed = self._result(Plan((Action.REMOVE,)), record=BundleRecord())
        assert removed["diff"] == {"before": {"state": "present"}, "after": {"state": "absent"}}
        assert removed["bundle"]["rootfs"] is None
        assert removed["bundle"]["image"] is None
