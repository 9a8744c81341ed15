# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On recorded files of /proc/PID/attr: few kernels of test machines have SELinux enabled."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import dump
from ansible_collections.longshore.oci.plugins.module_utils._container import create
from ansible_collections.longshore.oci.plugins.module_utils._host import selinux
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

# As Fedora has them: root who has logged in, a container of podman, conmon.
ROOT = "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023"
CONTAINER = "system_u:system_r:container_t:s0:c228,c932"
CONMON = "unconfined_u:unconfined_r:container_runtime_t:s0"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (f"{ROOT}\0", "unconfined_u:unconfined_r:unconfined_t:s0"),
        (CONTAINER, "system_u:system_r:container_t:s0"),
        (f"{CONMON}\0", None),
        ("unconfined", None),  # AppArmor has files of the same name
        ("user:role:type", None),
        ("", None),
    ],
)
def test_lowest_level(label: str, expected: str | None) -> None:
    assert selinux.lowest_level(label) == expected


@pytest.fixture
def attributes(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, text in {"current": f"{ROOT}\0", "exec": "", "sockcreate": ""}.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    return tmp_path


def test_conmon_runs_at_the_lowest_level(attributes: pathlib.Path) -> None:
    with selinux.for_conmon(str(attributes)):
        assert (attributes / "exec").read_text(encoding="ascii") == "unconfined_u:unconfined_r:unconfined_t:s0"
    assert (attributes / "exec").read_text(encoding="ascii") == ""


def test_a_level_that_is_right_is_left_alone(attributes: pathlib.Path) -> None:
    (attributes / "current").write_text(CONMON, encoding="ascii")
    (attributes / "exec").unlink()
    with selinux.for_conmon(str(attributes)):
        assert not (attributes / "exec").exists()


def test_the_label_goes_whatever_happens(attributes: pathlib.Path) -> None:
    with pytest.raises(ZeroDivisionError), selinux.for_conmon(str(attributes)):
        raise ZeroDivisionError
    assert (attributes / "exec").read_text(encoding="ascii") == ""


def test_sockets_have_the_label_of_the_container(attributes: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "has_labels", lambda: True)
    monkeypatch.setattr(selinux, "ATTRIBUTES", str(attributes))
    with dump.labelled("/images", {"process": {"selinuxLabel": CONTAINER}}):
        assert (attributes / "sockcreate").read_text(encoding="ascii") == CONTAINER
    assert (attributes / "sockcreate").read_text(encoding="ascii") == ""
    monkeypatch.setattr(selinux, "ATTRIBUTES", "/nowhere")
    with dump.labelled("/images", {"process": {}}):
        pass


def test_a_file_gets_the_mount_label(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[t.Any, ...]] = []
    monkeypatch.setattr(os, "setxattr", lambda *arguments, **more: seen.append((*arguments, more)))
    label = "system_u:object_r:container_file_t:s0:c228,c932"
    selinux.label_file("/log", {"linux": {"mountLabel": label}})
    selinux.label_file("/log", {"linux": {}})
    selinux.label_file("/log", {})
    assert seen == [("/log", "security.selinux", label.encode() + b"\0", {"follow_symlinks": False})]


def test_where_it_is_disabled_nothing_of_it_is_looked_at(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create, "has_labels", lambda: False)
    monkeypatch.setattr(dump, "has_labels", lambda: False)
    for name in ("for_conmon", "attribute", "label_file", "read_text"):
        monkeypatch.delattr(selinux, name)
    with dump.labelled(str(tmp_path), {}):
        pass


def test_where_it_is_enabled_a_dump_is_labelled(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(dump, "has_labels", lambda: True)
    monkeypatch.setattr(selinux, "label_file", lambda path, config: seen.append(path))
    with dump.labelled(str(tmp_path), builders.config()):
        assert seen == [str(tmp_path)]
