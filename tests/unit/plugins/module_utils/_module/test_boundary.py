# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    InvalidOption,
    MissingPrerequisite,
    ProgramFailed,
)
from ansible_collections.longshore.oci.plugins.module_utils._module import (
    boundary,
    bundle,
    checkpoint,
    container,
    exec,
    network,
)
from ansible_collections.longshore.oci.tests.unit import programs

pytestmark = pytest.mark.pure

NONE = {"state_dir": None, "run_dir": None}


class TestDirectories:
    def test_of_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setenv("XDG_STATE_HOME", "/theirs")
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/theirs")
        assert boundary.directories(NONE) == {"state_dir": "/var/lib/longshore", "run_dir": "/run/longshore"}

    @pytest.mark.parametrize(
        ("environment", "state", "run"),
        [
            ({}, "/home/app/.local/state/longshore", "/run/user/1000/longshore"),
            ({"XDG_STATE_HOME": "/s"}, "/s/longshore", "/run/user/1000/longshore"),
            ({"XDG_RUNTIME_DIR": "/r"}, "/home/app/.local/state/longshore", "/r/longshore"),
            # Set and empty is not set (XDG base directory specification).
            (
                {"XDG_RUNTIME_DIR": "", "XDG_STATE_HOME": ""},
                "/home/app/.local/state/longshore",
                "/run/user/1000/longshore",
            ),
        ],
    )
    def test_of_anybody_else(
        self, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], state: str, run: str
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"HOME": "/home/app", **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(os.path, "isdir", lambda path: path == os.path.dirname(run))
        assert boundary.directories(NONE) == {"state_dir": state, "run_dir": run}

    @pytest.mark.parametrize("name", ["state_dir", "run_dir"])
    @pytest.mark.parametrize("control", ["\n", "\0", "\t", "\x7f", "\u2028", "\udcff"])
    def test_control_characters(self, name: str, control: str) -> None:
        given = {"state_dir": "/s", "run_dir": "/r", name: f"/x{control}y"}
        with pytest.raises(InvalidOption, match=f"{name} cannot have control characters"):
            boundary.directories(given)

    @pytest.mark.impure
    def test_of_somebody_without_a_session(self, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setenv("XDG_RUNTIME_DIR", f"{tmp_path}/none")
        with pytest.raises(MissingPrerequisite, match="loginctl enable-linger"):
            boundary.directories(NONE)
        given = boundary.directories({"state_dir": None, "run_dir": "/b"})
        assert given["run_dir"] == "/b"

    @pytest.mark.impure
    @pytest.mark.parametrize("name", ["state_dir", "run_dir"])
    @pytest.mark.parametrize(("owner", "mode"), [(4242, 0o755), (0, 0o775), (0, 0o777), (0, 0o1777)])
    def test_of_others(self, tmp_path: pathlib.Path, name: str, owner: int, mode: int) -> None:
        os.chown(tmp_path, owner, 0)
        tmp_path.chmod(mode)
        with pytest.raises(InvalidOption, match=f"{name} .* can be changed by users other than root"):
            boundary.directories({**NONE, name: str(tmp_path)})
        if mode != 0o1777:
            with pytest.raises(InvalidOption, match="can be changed by users other than root"):
                boundary.directories({**NONE, name: f"{tmp_path}/not/yet"})

    @pytest.mark.parametrize("uid", [0, 1000])
    def test_as_given(self, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        given = {"state_dir": "/a", "run_dir": "/b"}
        assert boundary.directories(given) == given


class Ended(Exception):
    """What exit_json and fail_json of Ansible do: they do not come back."""


class Module:
    """The two ends of an AnsibleModule."""

    def __init__(self, **params: t.Any) -> None:
        self.params = params
        self.argument_spec: dict[str, t.Any] = {}
        self.said: dict[str, t.Any] = {}
        self.no_log_values: set[str] = set()

    def exit_json(self, **said: t.Any) -> None:
        self.said = {"failed": False, **said}
        raise Ended

    def fail_json(self, **said: t.Any) -> None:
        self.said = {"failed": True, **said}
        raise Ended


def _run(body: t.Callable[[t.Any], dict[str, t.Any]], **params: t.Any) -> dict[str, t.Any]:
    module = Module(**params)
    with pytest.raises(Ended):
        boundary.run(t.cast(t.Any, module), body)
    return module.said


class TestRun:
    def test_success(self) -> None:
        assert _run(lambda module: {"changed": True}) == {"failed": False, "changed": True}

    @pytest.mark.parametrize("value", ["a\0b", ["\0"], {"a": {"b": ["\0"]}}, {"\0": None}])
    def test_no_option_has_a_nul(self, value: t.Any) -> None:
        said = _run(lambda module: pytest.fail("It ran."), user=value, other=None)
        assert said["failed"]
        assert re.fullmatch(r"user(\.[a-z.]+)? cannot have a NUL character in it\.", said["msg"])
        assert _run(lambda module: {"changed": True}, stdin="a\0b", other=None)["changed"]

    def test_bytes_that_are_not_utf_8(self) -> None:
        """Ansible before 2.19 makes lone surrogates of them, as in the output of a command. Input and paths may have them."""
        said = _run(lambda module: pytest.fail("It ran."), env={"CITY": "\udce9", "OTHER": "x"})
        assert "env.CITY cannot have bytes that are not UTF-8." in said["msg"]
        assert _run(lambda module: {"changed": True}, stdin="\udce9", creates="/\udce9", argv=["\u00e9"])["changed"]

    def test_an_error_of_the_engine_is_a_failed_task_with_its_details(self) -> None:
        def body(_module: t.Any) -> dict[str, t.Any]:
            raise ProgramFailed("It broke.", hint="Mend it.", rc=3, runtime_log=["a"])

        assert _run(body) == {"failed": True, "msg": "It broke. Mend it.", "rc": 3, "runtime_log": ["a"]}

    def test_without_a_hint(self) -> None:
        def body(_module: t.Any) -> dict[str, t.Any]:
            raise InvalidOption("No.")

        assert _run(body) == {"failed": True, "msg": "No."}

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
    def test_a_disk_that_is_full_or_broken(self, number: int) -> None:
        def body(_module: t.Any) -> dict[str, t.Any]:
            raise OSError(number, os.strerror(number), "/run/here")

        found = _run(body)
        assert found["msg"] == f"An operation on the host failed: {os.strerror(number)} (/run/here)."
        assert "in body" in found["exception"]

    def test_a_bug_keeps_its_traceback(self) -> None:
        def body(_module: t.Any) -> dict[str, t.Any]:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            boundary.run(t.cast(t.Any, Module()), body)

    def test_a_host_that_is_too_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "pidfd_open")
        found = _run(lambda module: {"changed": True})
        assert found["failed"] is True
        assert "Linux 5.3 and Python 3.9" in found["msg"]


@pytest.mark.parametrize("value", [None, 0, 0.0, 0.5, 10, 86400.0, 1e12, -0.0])
def test_seconds(value: float | None) -> None:
    boundary.check_seconds({"a": 1, "b": value}, "a", "b")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (-1, "b cannot be negative"), (-1e-9, "b cannot be negative"), (-float("inf"), "b cannot be negative"),
        (float("inf"), "b must be a number of seconds up to 1000000000000, not inf"),
        (float("nan"), "b must be a number of seconds up to 1000000000000, not nan"),
        (-float("nan"), "not nan"), (1e13, "not 1"), (2**63, "not 9"),
    ],
)  # fmt: skip
def test_seconds_that_nothing_can_wait(value: float, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        boundary.check_seconds({"a": 1, "b": value}, "a", "b")


ALL: list[tuple[str, dict[str, t.Any]]] = [
    (name, about)
    for module in (bundle, checkpoint, container, exec, network)
    for name, about in [
        *module.ARGUMENTS.items(),
        *(one for each in module.ARGUMENTS.values() for one in each.get("options", {}).items()),
    ]
]
CHANGED = [True, False, {"a": "b"}]
TEXTS = [(n, a) for n, a in ALL if a.get("elements", a["type"]) in ("str", "path") and "choices" not in a]
LISTS = [(n, a) for n, a in ALL if a["type"] == "list"]
NUMBERS = [(n, a) for n, a in ALL if a["type"] in ("int", "float")]


def _refused(name: str, about: dict[str, t.Any], value: t.Any, says: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        boundary.refuse_changed({name: about}, {name: value})
    assert str(refused.value).startswith(f"{name}: {says} must be "), value


class TestValuesThatYamlHasChanged:
    def test_of_each_option_with_text(self) -> None:
        """Of every module: yes, 1.10 and a dictionary, alone and in a list, and null in a list."""
        assert len(TEXTS) > 80
        for name, about in TEXTS:
            for value in (*CHANGED, *([] if "size" in name or "memory" in name or "limit" in name else [1.1])):
                _refused(name, about, value, "the value")
                if about["type"] == "list":
                    _refused(name, about, [value], "the value")
                    _refused(name, about, ["a", value], "word 2")
            if about["type"] == "list":
                _refused(name, about, ["a", "b", None], "word 3")
                _refused(name, about, [["a"]], "the value")
            for fine in (*(("", "yes", "1.10") if name != "exit_command" else ()), 0, 493, None):
                boundary.refuse_changed({name: about}, {name: fine})
                if about["type"] == "list" and fine is not None:
                    boundary.refuse_changed({name: about}, {name: [fine, "b"]})

    def test_one_word_for_a_list(self) -> None:
        """Also of one whose words are of any type."""
        for name, about in LISTS:
            for value in (True, 1.1):
                _refused(name, about, value, "the value")
            if name not in ("argv", "entrypoint", "exit_command"):
                boundary.refuse_changed({name: about}, {name: "a,b"})

    @pytest.mark.parametrize("text", ["curl -f http://localhost/", "sh,-c,true", "id", "", "['id']"])
    def test_a_command_that_is_text(self, text: str) -> None:
        """Ansible makes ``curl -f http://localhost/`` one word, and ``sh,-c,true`` three."""
        for arguments in (bundle.ARGUMENTS, exec.ARGUMENTS):
            with pytest.raises(InvalidOption, match=r"^argv must be a list \(or use command\), not text\.$"):
                boundary.refuse_changed(arguments, {"argv": text})
            boundary.refuse_changed(arguments, {"argv": [text]})
        with pytest.raises(InvalidOption, match=r"^entrypoint must be a list, not text"):
            boundary.refuse_changed(bundle.ARGUMENTS, {"entrypoint": text})
        for arguments in (container.ARGUMENTS, checkpoint.ARGUMENTS):
            with pytest.raises(InvalidOption, match=r"^exit_command must be a list, not text\.$"):
                boundary.refuse_changed(arguments, {"exit_command": text})

    def test_of_each_option_with_a_number(self) -> None:
        assert len(NUMBERS) > 10
        for name, about in NUMBERS:
            for value in CHANGED:
                _refused(name, about, value, "the value")
            for fine in (0, 1, -1, 1.0, 0.5, "1", None):
                boundary.refuse_changed({name: about}, {name: fine})

    def test_others(self) -> None:
        """Switches, choices, dictionaries, words of any type, and sizes."""
        given: dict[str, t.Any] = {
            "tty": True, "image_volumes": False, "env": {"a": True}, "mounts": [{"a": 1}, "b"], "argv": ["a", True],
            "memory": 768.0, "hostname": True,
        }  # fmt: skip
        boundary.refuse_changed(bundle.ARGUMENTS, given)
        boundary.refuse_changed(container.ARGUMENTS, {"restart_policy": False})

    def test_aliases_and_options_of_options(self) -> None:
        with pytest.raises(InvalidOption, match=r"cap_add|capabilities_add: word 2 must be text\. Put it in quotes\."):
            boundary.refuse_changed(bundle.ARGUMENTS, {"cap_add": ["a", True]})
        with pytest.raises(InvalidOption, match="userns: uidmap: the value must be text"):
            boundary.refuse_changed(bundle.ARGUMENTS, {"userns": {"uidmap": [1.1]}})
        with pytest.raises(InvalidOption, match="routes: via: the value must be text"):
            boundary.refuse_changed(network.ARGUMENTS, {"routes": [{"to": "a", "via": "b"}, {"to": "a", "via": 1.1}]})
        with pytest.raises(InvalidOption, match="interfaces: mtu: the value must be a number"):
            boundary.refuse_changed(network.ARGUMENTS, {"interfaces": [{"mtu": True}]})

    @pytest.mark.impure
    @pytest.mark.parametrize(
        ("module", "given", "says"),
        [
            ("oci_container", {"exit_command": ["/bin/true", True]}, "exit_command: word 2 must be text."),
            ("oci_container", {"runtime_args": [None]}, "runtime_args: the value must be text."),
            ("oci_container", {"log_tag": 1.1}, "log_tag: the value must be text."),
            ("oci_checkpoint", {"exit_command": ["/bin/true", 1.0]}, "exit_command: word 2 must be text."),
            ("oci_exec", {"command": False}, "command: the value must be text."),
            ("oci_exec", {"argv": ["a"], "stdin": {"a": True}}, "stdin: the value must be text."),
            ("oci_exec", {"argv": "curl -f http://localhost/"}, "argv must be a list (or use command), not text."),
            ("oci_bundle", {"rootfs": "/none", "entrypoint": "sh,-c"}, "entrypoint must be a list, not text."),
            ("oci_bundle", {"rootfs": "/none", "pids_limit": True}, "pids_limit: the value must be a number."),
            ("oci_bundle", {"image": "a", "username": "me", "password": 1.1}, "password: the value must be text."),
            ("oci_network", {"name": 1.1}, "name: the value must be text."),
            ("oci_container_info", {"name": False}, "name: the value must be text."),
        ],
    )
    def test_a_task(self, module: str, given: dict[str, t.Any], says: str) -> None:
        """Ansible has made the text True of it, and the module still knows."""
        code = (
            "import sys\nfrom ansible.module_utils import basic\n"
            f"from ansible_collections.longshore.oci.plugins.modules import {module} as module\n"
            "basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.stdin.buffer.read(), 'legacy'\nmodule.main()"
        )
        whole = {"name": "none", **given} if module != "oci_bundle" else {"path": "/none/b", **given}
        done = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps({"ANSIBLE_MODULE_ARGS": whole}), capture_output=True,
            env=programs.python_environment(), text=True, check=False, timeout=60,
        )  # fmt: skip
        assert json.loads(done.stdout)["msg"].startswith(says), done.stderr
