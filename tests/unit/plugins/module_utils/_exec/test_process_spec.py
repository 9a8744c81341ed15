# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._exec import process_spec
from ansible_collections.longshore.oci.plugins.module_utils._exec.process_spec import Command
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

ROOT = User(0, 0, (), "/root")
NOBODY = User(65534, 65534, (7,), "/nonexistent")
FEW = ["CAP_CHOWN", "CAP_KILL"]
HOST = ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"]


def _spec(whose: User = ROOT, process: dict[str, t.Any] | None = None, /, **wanted: t.Any) -> dict[str, t.Any]:
    own = {"args": ["sleep"], "cwd": "/srv", "env": ["PATH=/bin", "LANG=C"], "terminal": True, **(process or {})}
    command = Command(**{"argv": ("id", "-u"), **wanted})
    return process_spec.process_spec(builders.config(process=own), command, whose, host_capabilities=HOST)


class TestSpec:
    def test_as_the_container_has_it(self) -> None:
        own = {
            "user": {"uid": 5, "gid": 6, "additionalGids": [7], "umask": 23}, "rlimits": [{"type": "RLIMIT_CORE", "hard": 0}],
            "capabilities": {"bounding": FEW, "effective": FEW, "permitted": [], "inheritable": [], "ambient": []},
            "noNewPrivileges": True, "apparmorProfile": "strict",
            "selinuxLabel": "a:b:c", "oomScoreAdj": 3, "consoleSize": {"height": 1, "width": 2}, "commandLine": "windows",
        }  # fmt: skip
        spec = _spec(User(5, 6, (7,), "/home/five"), own)
        kept = ("user", "rlimits", "capabilities", "noNewPrivileges", "apparmorProfile", "selinuxLabel", "oomScoreAdj")
        assert {name: spec.pop(name) for name in kept} == {name: own[name] for name in kept}
        assert spec == {
            "args": ["id", "-u"],
            "terminal": False,
            "cwd": "/srv",
            "env": ["PATH=/bin", "LANG=C", "HOME=/home/five"],
        }

    def test_what_the_config_leaves_out(self) -> None:
        spec = process_spec.process_spec({"process": {}}, Command(("id",)), ROOT, host_capabilities=HOST)
        user = {"uid": 0, "gid": 0, "umask": 0o022}
        assert spec == {"args": ["id"], "terminal": False, "cwd": "/", "env": ["HOME=/root"], "user": user}

    def test_a_user_that_is_not_mapped(self) -> None:
        config = builders.config(
            linux={name: [{"containerID": 0, "hostID": 1000, "size": 1}] for name in ("uidMappings", "gidMappings")}
        )
        for user, says in (
            (User(1, 0, (), "/"), "The user 1 is not mapped"),
            (User(0, 1, (), "/"), "The group 1 is not mapped"),
        ):
            with pytest.raises(InvalidOption, match=says):
                process_spec.process_spec(config, Command(("id",), user="x"), user, host_capabilities=HOST)
        process_spec.process_spec(config, Command(("id",), user="x"), ROOT, host_capabilities=HOST)

    @pytest.mark.parametrize(("cwd", "is_"), [(None, "/srv"), ("/", "/"), ("/a/../b/", "/b")])
    def test_directory(self, cwd: str | None, is_: str) -> None:
        assert _spec(cwd=cwd)["cwd"] == is_

    def test_another_user_keeps_the_umask_and_nothing_else(self) -> None:
        own = {"user": {"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 23, "username": "x"}}
        spec = _spec(NOBODY, own, user="nobody")
        assert spec["user"] == {"umask": 23, "uid": 65534, "gid": 65534, "additionalGids": [65534, 7]}

    @pytest.mark.parametrize(
        ("own", "user", "wanted", "env"),
        [
            (["A=1"], ROOT, {}, {"A": "1", "HOME": "/root"}),
            (["A=1"], ROOT, {"env": {"A": "2", "B": "x=y"}}, {"A": "2", "B": "x=y", "HOME": "/root"}),
            # What the author of the config says of its own user counts for that one only.
            (["HOME=/h"], ROOT, {}, {"HOME": "/h"}),
            (["HOME=/h"], ROOT, {"user": "root"}, {"HOME": "/h"}),
            (["HOME=/h"], NOBODY, {"user": "nobody"}, {"HOME": "/nonexistent"}),
            (["HOME=/h"], NOBODY, {"user": "nobody", "env": {"HOME": "/mine"}}, {"HOME": "/mine"}),
            (["HOME="], ROOT, {}, {"HOME": "/root"}),
            ([], ROOT, {"tty": True}, {"HOME": "/root", "TERM": "xterm"}),
            (["TERM=vt52"], ROOT, {"tty": True}, {"HOME": "/root", "TERM": "vt52"}),
            (["NOTIFY_SOCKET=/run/notify/notify.sock"], ROOT, {}, {"HOME": "/root"}),
        ],
    )
    def test_environment(self, own: list[str], user: User, wanted: dict[str, t.Any], env: dict[str, str]) -> None:
        spec = _spec(user, {"env": own}, **wanted)
        assert dict(word.split("=", 1) for word in spec["env"]) == env
        assert len(spec["env"]) == len(env)

    @pytest.mark.parametrize(
        ("wanted", "own", "is_"),
        [
            ({}, {}, {}),
            ({}, {"noNewPrivileges": True}, {"noNewPrivileges": True}),
            ({"no_new_privs": True}, {}, {"noNewPrivileges": True}),
            ({"no_new_privs": False}, {"noNewPrivileges": True}, {"noNewPrivileges": False}),
            ({"privileged": True}, {"noNewPrivileges": True}, {"noNewPrivileges": False}),
            ({"privileged": True, "no_new_privs": True}, {}, {"noNewPrivileges": True}),
            (
                {"privileged": True}, {"apparmorProfile": "strict", "selinuxLabel": "x"},
                {"noNewPrivileges": False, "apparmorProfile": "unconfined", "selinuxLabel": "x"},
            ),
        ],
    )  # fmt: skip
    def test_confinement(self, wanted: dict[str, t.Any], own: dict[str, t.Any], is_: dict[str, t.Any]) -> None:
        spec = _spec(ROOT, own, **wanted)
        names = ("noNewPrivileges", "apparmorProfile", "selinuxLabel")
        assert {name: spec[name] for name in names if name in spec} == is_


class TestCapabilities:
    OWN: t.ClassVar = {"bounding": FEW, "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]}

    def _sets(self, whose: User, own: t.Any, /, **wanted: t.Any) -> t.Any:
        found = _spec(whose, {"capabilities": own, "user": {"uid": 0}}, **wanted).get("capabilities")
        letters = {"bounding": "b", "effective": "e", "permitted": "p", "inheritable": "i", "ambient": "a"}
        return found and {letters[name]: [word[4:] for word in words] for name, words in found.items()}

    def test_none_at_all_is_for_the_runtime_to_say(self) -> None:
        assert self._sets(ROOT, None) is None

    def test_its_own_user(self) -> None:
        same = {"b": ["CHOWN", "KILL"], "e": ["KILL"], "p": ["KILL"], "i": [], "a": ["KILL"]}
        assert self._sets(ROOT, self.OWN) == self._sets(ROOT, self.OWN, user="0") == same

    def test_another_user_has_none(self) -> None:
        assert self._sets(NOBODY, self.OWN, user="nobody") == {
            "b": ["CHOWN", "KILL"],
            "e": [],
            "p": [],
            "i": [],
            "a": [],
        }

    def test_root_where_the_container_has_another_user(self) -> None:
        own = {"capabilities": self.OWN, "user": {"uid": 9}}
        found = _spec(ROOT, own, user="root")["capabilities"]
        assert (found["effective"], found["permitted"], found["ambient"]) == (FEW, FEW, [])

    def test_privileged(self) -> None:
        sets = self._sets(ROOT, self.OWN, privileged=True)
        everything = ["CHOWN", "KILL", "SYS_ADMIN"]
        assert sets == {"b": everything, "e": everything, "p": everything, "i": [], "a": []}
        assert self._sets(NOBODY, self.OWN, privileged=True, user="nobody")["e"] == []
        assert self._sets(ROOT, None, privileged=True)["b"] == everything

    def test_one_more(self) -> None:
        sets = self._sets(ROOT, self.OWN, capabilities=("net_admin", "CAP_KILL"))
        assert sets["b"] == ["CHOWN", "KILL", "NET_ADMIN"]
        assert sets["e"] == sets["p"] == ["KILL", "NET_ADMIN"]
        assert (sets["i"], sets["a"]) == ([], ["KILL"])

    def test_one_more_of_another_user_has_to_be_ambient(self) -> None:
        sets = self._sets(NOBODY, self.OWN, capabilities=("NET_ADMIN",), user="nobody")
        assert sets["b"] == ["CHOWN", "KILL", "NET_ADMIN"]
        assert sets["e"] == sets["p"] == sets["i"] == sets["a"] == ["NET_ADMIN"]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"argv": ()}, "There is no command to run"),
        ({"argv": ("",)}, "There is no command to run"),
        ({"argv": ("a", "b\0")}, "NUL character"),
        ({"env": {"A": "\0"}}, r"env\.A cannot have a NUL character"),
        ({"env": {"A": "\udce9"}}, r"env\.A cannot have bytes that are not UTF-8"),
        ({"argv": ("a", "\udce9")}, "argv cannot have bytes that are not UTF-8"),
        ({"cwd": "/\udce9"}, "chdir cannot have bytes that are not UTF-8"),
        ({"user": "\udce9"}, "user cannot have bytes that are not UTF-8"),
        ({"env": {"": "x"}}, "variable ''"),
        ({"env": {"A=B": "x"}}, "variable 'A=B'"),
        ({"cwd": "tmp"}, "absolute path in the container, not 'tmp'"),
        ({"cwd": ""}, "absolute path in the container, not ''"),
        ({"capabilities": ("FLY",)}, "There is no capability 'FLY'"),
    ],
)
def test_what_no_container_can_run(wanted: dict[str, t.Any], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        process_spec.check(Command(**{"argv": ("true",), **wanted}))


def test_what_any_container_can_run() -> None:
    process_spec.check(Command(("a", ""), {"A": ""}, "app:video", "/", capabilities=("cap_kill", "net_raw")))
