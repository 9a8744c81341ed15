# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers of devices, as they are when a container is created."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._config.config import DEVICES
from ansible_collections.longshore.oci.plugins.module_utils._runtime import device_numbers
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")

ALL = {"allow": False, "access": "rwm"}


def node(path: pathlib.Path, major: int, minor: int, kind: str = "b") -> str:
    path.unlink(missing_ok=True)
    os.mknod(path, 0o600 | (stat.S_IFBLK if kind == "b" else stat.S_IFCHR), os.makedev(major, minor))
    return str(path)


def device(place: str, major: int, minor: int, kind: str = "b") -> dict[str, t.Any]:
    return {"path": place, "type": kind, "major": major, "minor": minor, "fileMode": 432, "uid": 0, "gid": 6}


def rule(major: int, minor: int, kind: str = "b", access: str = "rwm") -> dict[str, t.Any]:
    return {"allow": True, "access": access, "type": kind, "major": major, "minor": minor}


def config(
    sources: t.Any, *devices: dict[str, t.Any], rules: t.Sequence[t.Mapping[str, t.Any]] = ()
) -> dict[str, t.Any]:
    linux = {"devices": list(devices), "resources": {"devices": [ALL, *rules], "memory": {"limit": 1}}}
    return builders.config(annotations={DEVICES: json.dumps(sources)}, linux=linux)


def test_a_name_leads_to_another_device(tmp_path: pathlib.Path) -> None:
    node(tmp_path / "a", 7, 100)
    node(tmp_path / "b", 7, 101)
    link = tmp_path / "by name"
    link.symlink_to("a")
    made = config(
        {"/dev/disk": str(link)},
        device("/dev/disk", 7, 100),
        device("/dev/own", 7, 100),
        rules=[rule(7, 100, access="r")],
    )
    assert device_numbers.resolved(made) == made
    link.unlink()
    link.symlink_to("b")
    # The other one is of the option ``spec``, and has a number.
    expected = config(
        {"/dev/disk": str(link)},
        device("/dev/disk", 7, 101),
        device("/dev/own", 7, 100),
        rules=[rule(7, 101, access="r")],
    )
    assert device_numbers.resolved(made) == expected


def test_devices_that_have_changed_places(tmp_path: pathlib.Path) -> None:
    sources = {
        "/dev/a": node(tmp_path / "a", 7, 2),
        "/dev/b": node(tmp_path / "b", 7, 1),
        "/dev/c": node(tmp_path / "c", 5, 1, "c"),
    }
    made = config(
        sources, device("/dev/a", 7, 1), device("/dev/b", 7, 2), device("/dev/c", 7, 3),
        rules=[rule(7, 1, access="r"), rule(7, 2, access="w"), rule(7, 3)],
    )  # fmt: skip
    expected = config(
        sources, device("/dev/a", 7, 2), device("/dev/b", 7, 1), device("/dev/c", 5, 1, "c"),
        rules=[rule(7, 2, access="r"), rule(7, 1, access="w"), rule(5, 1, "c")],
    )  # fmt: skip
    assert device_numbers.resolved(made) == expected
    assert device_numbers.resolved(expected) == expected


def test_two_names_of_what_was_one_device(tmp_path: pathlib.Path) -> None:
    sources = {"/dev/a": node(tmp_path / "a", 7, 1), "/dev/b": node(tmp_path / "b", 7, 2)}
    made = config(sources, device("/dev/a", 7, 1), device("/dev/b", 7, 1), rules=[rule(7, 1)])
    found = device_numbers.resolved(made)["linux"]["resources"]["devices"]
    assert found == [ALL, rule(7, 1), rule(7, 2)]


@pytest.mark.parametrize("there", ["nothing", "a file", "a dead link"])
def test_a_device_that_is_not_there(tmp_path: pathlib.Path, there: str) -> None:
    if there == "a file":
        (tmp_path / "a").write_text("")
    elif there == "a dead link":
        (tmp_path / "a").symlink_to("nowhere")
    made = config({"/dev/a": f"{tmp_path}/a"}, device("/dev/a", 7, 1), rules=[rule(7, 1)])
    with pytest.raises(InvalidOption, match=f"{tmp_path}/a"):
        device_numbers.resolved(made)
    assert device_numbers.resolved(made, strict=False) == made


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"/dev/a": 1}', '{"/dev/a": "relative"}', 7, None])
def test_an_annotation_of_another_origin(text: t.Any) -> None:
    made = builders.config(annotations={DEVICES: text}, linux={"devices": [device("/dev/a", 7, 1)]})
    assert device_numbers.resolved(made) == made
    assert device_numbers.sources(builders.config()) == {}


def test_an_unplugged_device_of_a_directory(tmp_path: pathlib.Path) -> None:
    """It keeps nobody from starting, and its number, which may be that of another device, is not used."""
    sources = {"/dev/snd/a": [node(tmp_path / "a", 116, 2, "c")], "/dev/snd/b": [f"{tmp_path}/b"]}
    devices = device("/dev/snd/a", 116, 1, "c"), device("/dev/snd/b", 116, 2, "c")
    made = config(sources, *devices, rules=[rule(116, 1, "c"), rule(116, 2, "c")])
    assert (
        device_numbers.resolved(made)["linux"]
        == config(
            sources,
            device("/dev/snd/a", 116, 2, "c"),
            device("/dev/snd/b", 0, 0, "c"),
            rules=[rule(116, 2, "c"), rule(0, 0, "c")],
        )["linux"]
    )
    kept = device_numbers.resolved(made, strict=False)["linux"]["devices"]
    assert kept == [device("/dev/snd/a", 116, 2, "c"), device("/dev/snd/b", 116, 2, "c")]
