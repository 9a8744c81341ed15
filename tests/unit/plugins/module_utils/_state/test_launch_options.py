# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a launch that are impossible, alone or together."""

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._state import launch_options
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


def _check(*, name: str = "web", terminal: bool = False, **options: t.Any) -> None:
    paths = Store(state_dir="/state", run_dir="/run").paths(name)
    launch_options.check(builders.definition(**options), paths, terminal=terminal)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"runtime_root": "/r", "log_path": "/l", "conmon_pidfile": "/p"},
        {"conmon_env": {"A_1": "x y"}}, {"conmon_pidfile": "/p "}, {"log_driver": "passthrough"}, {"terminal": True},
        {"sdnotify": "container"},
    ],
)  # fmt: skip
def test_what_is_possible(options: dict[str, t.Any]) -> None:
    _check(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"runtime_root": "r"}, "runtime_root must be an absolute path, not 'r'"),
        ({"log_path": "l"}, "log_path must be an absolute path"),
        ({"conmon_pidfile": ""}, "conmon_pidfile must be an absolute path"),
        *(({"conmon_env": {name: value}}, "conmon_env cannot have a variable")
          for name, value in (("", "x"), ("a b", "x"), ("a;b", "x"), ("1a", "x"), ("\u00e4", "x"), ("A", "a\0b"), ("_OCI_SYNCPIPE", "3"),
                              ("NOTIFY_SOCKET", "/x"), ("LISTEN_FDS", "1"))),
        ({"sdnotify": "container", "name": "n" * 120}, "too long for a socket"),
        ({"terminal": True, "log_driver": "passthrough"}, "passthrough cannot be used for a container with a terminal"),
    ],
)  # fmt: skip
def test_what_is_impossible(options: dict[str, t.Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        _check(**options)


@pytest.mark.parametrize("uid", [0, 1000])
def test_only_root_has_no_session(uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if uid:
        _check(conmon_env={"DBUS_SESSION_BUS_ADDRESS": "x"})
    else:
        with pytest.raises(InvalidOption, match="the container would belong to that session"):
            _check(conmon_env={"DBUS_SESSION_BUS_ADDRESS": "x"})
