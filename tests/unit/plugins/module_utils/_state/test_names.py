# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pwd
import types

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("manager", "user", "given", "parent"),
    [
        ("cgroupfs", 0, None, "/longshore"), ("systemd", 0, None, "machine.slice"), ("systemd", 1000, None, "user.slice"),
        ("cgroupfs", 0, "/mine", "/mine"), ("systemd", 1000, "mine.slice", "mine.slice"),
    ],
)  # fmt: skip
def test_the_parent(monkeypatch: pytest.MonkeyPatch, manager: str, user: int, given: str | None, parent: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    record = builders.record(cgroup_manager=manager, definition=builders.definition(cgroup_parent=given))
    assert names.cgroup_parent(record) == parent


def test_container_and_conmon_have_cgroups_beside_each_other() -> None:
    record = builders.record(name="web")
    assert names.container_cgroup(record) == "/longshore/web"
    assert names.conmon_cgroup(record) == "/longshore/conmon:web"


def test_no_two_state_directories_have_a_name_in_common() -> None:
    mine, other = (builders.record(name="web", realm=realm) for realm in ("", "srv"))
    functions = (names.container_cgroup, names.conmon_cgroup)
    assert {function(mine) for function in functions} & {function(other) for function in functions} == set()
    assert names.container_cgroup(other) == "/longshore/web@srv"
    units = (names.container_unit, names.conmon_unit, names.service_unit)
    assert {unit("web", "") for unit in units} & {unit("web", "srv") for unit in units} == set()


def test_units() -> None:
    assert names.container_unit("web", "") == "longshore-web.scope"
    assert names.conmon_unit("web", "") == "longshore-conmon:web.scope"
    assert names.service_unit("web", "srv") == "longshore.srv-web.service"


def test_a_plus_is_escaped_as_systemd_does() -> None:
    assert names.unit_part("a+b+c") == r"a\x2bb\x2bc"
    assert names.service_unit("a+b", "") == r"longshore-a\x2bb.service"


@pytest.mark.parametrize(
    ("user", "path"),
    [(0, "/etc/systemd/system/longshore-web.service"), (1000, "/home/me/.config/systemd/user/longshore-web.service")],
)
def test_where_the_unit_of_a_service_is(monkeypatch: pytest.MonkeyPatch, user: int, path: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: types.SimpleNamespace(pw_dir="/home/me"))
    assert names.service_path("web", "") == path
