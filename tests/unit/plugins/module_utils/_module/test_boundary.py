# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    InvalidOption,
    MissingPrerequisite,
    ProgramFailed,
)
from ansible_collections.longshore.oci.plugins.module_utils._module import boundary

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
        assert said == {"failed": True, "msg": "user cannot have a NUL character in it."}
        assert _run(lambda module: {"changed": True}, stdin="a\0b", other=None)["changed"]

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
