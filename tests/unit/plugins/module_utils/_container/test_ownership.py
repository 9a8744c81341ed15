# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the host for two state directories; that they hold with real containers is shown by test_containers.py."""

from __future__ import annotations

import os
import pathlib
import pwd
import types
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict
from ansible_collections.longshore.oci.plugins.module_utils._base.files import make_directory
from ansible_collections.longshore.oci.plugins.module_utils._base.process import boot_id, identify
from ansible_collections.longshore.oci.plugins.module_utils._container import ownership
from ansible_collections.longshore.oci.plugins.module_utils._service import owner_systemd, service_unit
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.plugins.modules import oci_container_info
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


def _realm(state_dir: str) -> str:
    return Store(state_dir=state_dir, run_dir="/run").realm


@pytest.mark.impure
def test_the_default_state_directory_has_plain_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _realm("/var/lib/longshore") == _realm("/var/lib/longshore/") == ""
    assert len({"", *map(_realm, ("/srv/a", "/srv/b", "/var/lib/longshore2", "/var/lib/longshore/x"))}) == 5
    user = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "geteuid", lambda: user.pw_uid)
    assert _realm(f"{user.pw_dir}/.local/state/longshore") == ""
    assert _realm("/var/lib/longshore") != ""


@pytest.mark.parametrize(
    ("uid", "parent", "place"),
    [
        (0, None, "/machine.slice"),
        (0, "a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
        (0, "-.slice", ""),
        (1000, None, "/user.slice/user-1000.slice/user@1000.service/user.slice"),
    ],
)
def test_where_scopes_are(monkeypatch: pytest.MonkeyPatch, uid: int, parent: str | None, place: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    definition = builders.definition(cgroup_parent=parent)
    record = builders.record(cgroup_manager="systemd", definition=definition, realm="01234567")
    assert ownership.scopes(record) == (
        f"{place}/longshore.01234567-web.scope", f"{place}/longshore.01234567-conmon:web.scope",
    )  # fmt: skip


def test_the_unit_of_another(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = tmp_path / "unit"
    monkeypatch.setattr(names, "service_path", lambda _name, _realm: str(unit))
    paths = Store(state_dir=f"{tmp_path}/st%te", run_dir=f"{tmp_path}/run").paths("web")
    owner_systemd.check_unit(builders.record(), paths)
    script = paths.service_script.replace("%", "%%")
    unit.write_text(f'ExecStart=/bin/sh "{script}" start\n')
    owner_systemd.check_unit(builders.record(), paths)
    for text in ("", f'ExecStart=/bin/sh "{script}2" start', 'ExecStart=/bin/sh "/srv/service.sh" start'):
        unit.write_text(text)
        with pytest.raises(Conflict, match="is not a unit of this container"):
            owner_systemd.check_unit(builders.record(), paths)


@pytest.mark.parametrize("name", ["a b", "$HOME", "a\\b", 'a"b', "%h"])
def test_the_own_unit(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As it is written now, and as earlier releases did."""
    unit = tmp_path / "unit"
    monkeypatch.setattr(names, "service_path", lambda _name, _realm: str(unit))
    paths = Store(state_dir=f"{tmp_path}/{name}", run_dir=f"{tmp_path}/run").paths("web")
    for word in (
        service_unit.unit_quote(paths.service_script, command=True),
        f'"{paths.service_script}"'.replace("%", "%%"),
    ):
        unit.write_text(f"ExecStart=/bin/sh {word} start\n")
        owner_systemd.check_unit(builders.record(), paths)


@pytest.mark.parametrize("mark", ["state", "bundle/config.json"])
def test_a_run_directory_of_another(tmp_path: pathlib.Path, mark: str) -> None:
    """The second is what earlier releases leave."""
    mine, others = (Store(state_dir=f"{tmp_path}/{name}", run_dir=f"{tmp_path}/run") for name in ("mine", "others"))
    make_directory(mine.paths("web").bundle)
    target = others.paths("web").state if mark == "state" else others.paths("web").config
    os.symlink(target, f"{mine.paths('web').run}/{mark}")
    ownership.check_run(mine, "web", None)  # That one has no such container any more.
    make_directory(others.paths("web").state)
    others.save(builders.record())
    ownership.check_run(others, "web", None)
    with pytest.raises(Conflict, match="belongs to the container web in another state directory"):
        ownership.check_run(mine, "web", None)


@pytest.mark.impure
def test_looking_at_what_runs_with_another_run_directory(tmp_path: pathlib.Path, spawn: t.Any) -> None:
    """It is only looked at, so one such container does not hide all others."""
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    for name, run in (("web", "run"), ("other", "elsewhere")):
        init = identify(spawn().pid)
        make_directory(store.paths(name).state)
        store.save(builders.record(name=name, init=init, boot=boot_id(), runtime_root=f"{tmp_path}/{run}/runc"))
    with pytest.raises(Conflict, match=f"runs with run_dir {tmp_path}/elsewhere"):
        ownership.check_run(store, "other", store.load("other"))
    params = {"name": [], "state_dir": store.state_dir, "run_dir": store.run_dir}
    found = oci_container_info.look(t.cast(t.Any, types.SimpleNamespace(params=params)))["containers"]
    assert [(each["name"], each["status"]) for each in found] == [("other", "running"), ("web", "running")]
