# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the host for two state directories; that they hold with real containers is shown by test_containers.py."""

from __future__ import annotations

import os
import pathlib
import pwd

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict
from ansible_collections.longshore.oci.plugins.module_utils._container import ownership
from ansible_collections.longshore.oci.plugins.module_utils._service import service_unit
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
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
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    paths = Store(state_dir=f"{tmp_path}/st%te", run_dir=f"{tmp_path}/run").paths("web")
    ownership.check_unit(builders.record(), paths)
    script = paths.service_script.replace("%", "%%")
    # One that was edited is still its unit.
    for text in (
        f'ExecStart=/bin/sh "{script}" start\n',
        f'ExecStart=/bin/true\nExecStop=/bin/sh -x "{script}" stop\n',
        f'ExecStartPre=-/bin/ls "{script}"',
        "",
        "\n \n",
    ):
        unit.write_text(text)
        ownership.check_unit(builders.record(), paths)
    for text in (
        f'# "{script}"',
        f'Environment=X="{script}"',
        "[Service]\n",
        f'ExecStart=/bin/sh "{script}2" start',
        'ExecStart=/bin/sh "/srv/service.sh" start',
    ):
        unit.write_text(text)
        with pytest.raises(Conflict, match="is not a unit of this container"):
            ownership.check_unit(builders.record(), paths)
    unit.unlink()
    unit.symlink_to("/dev/null")
    with pytest.raises(Conflict, match="is not a unit of this container") as caught:
        ownership.check_unit(builders.record(), paths)
    assert caught.value.hint == "It is masked. Use systemctl unmask unit."


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
        ownership.check_unit(builders.record(), paths)
