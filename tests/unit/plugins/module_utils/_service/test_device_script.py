# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script of a service finds devices as a task does, with a real shell and sed."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import stat
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._config.config import DEVICES
from ansible_collections.longshore.oci.plugins.module_utils._runtime import device_numbers
from ansible_collections.longshore.oci.plugins.module_utils._service import device_script
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")

SHELLS = [shell for shell in ("/bin/sh", "/bin/bash", "/bin/dash") if os.path.exists(shell)]
# Places and names with all that a shell, JSON and sed give a meaning.
ODD = ["disk", "by id/x'y", 'quo"te', "back\\slash", "do$llar`x`", "st*ar[a].^", "am&p|er", "ü#%s", "--", "tab\there"]


class Host:
    def __init__(self, path: pathlib.Path, names: t.Sequence[str]) -> None:
        self.names, self.directory = names, path / "dev'ices"
        self.paths = Store(state_dir=f"{path}/st ate", run_dir=f"{path}/ru'n").paths("web")
        for directory in (self.paths.bundle, self.paths.state):
            os.makedirs(directory)
        self.directory.mkdir()

    def source(self, number: int) -> str:
        return str(self.directory / str(number))

    def devices(self, kind: str, numbers: t.Sequence[tuple[int, int]]) -> dict[str, t.Any]:
        """Make the device nodes, and return the config with them."""
        devices, rules = [], [{"allow": False, "access": "rwm"}]
        for index, (name, (major, minor)) in enumerate(zip(self.names, numbers)):
            path = pathlib.Path(self.source(index))
            path.unlink(missing_ok=True)
            os.mknod(path, 0o600 | (stat.S_IFBLK if kind == "b" else stat.S_IFCHR), os.makedev(major, minor))
            found = {"type": kind, "major": major, "minor": minor}
            devices.append({"path": f"/dev/{name}", **found, "fileMode": 432, "uid": 0, "gid": 6})
            rules.append({"allow": True, "access": "rw", **found})
        sources = {f"/dev/{name}": self.source(index) for index, name in enumerate(self.names)}
        linux = {"devices": devices, "resources": {"devices": rules}}
        return builders.config(
            annotations={DEVICES: json.dumps(sources), "other": '"major": 7, "minor": 1'}, linux=linux
        )

    def start(self, config: dict[str, t.Any], shell: str) -> subprocess.CompletedProcess[str]:
        pathlib.Path(self.paths.config).write_text(json.dumps(config), encoding="utf-8")
        lines = device_script.parts(config, self.paths)["config_file"]
        script = f"set -u\numask 027\ncase $1 in\nstart)\n    {lines}\n    echo goes on\n    ;;\nesac\n"
        return subprocess.run([shell, "-c", script, "sh", "start"], capture_output=True, text=True, check=False)

    def used(self) -> dict[str, t.Any]:
        path = f"{self.paths.bundle}/config.json"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        with open(path, encoding="utf-8") as stream:
            found: dict[str, t.Any] = json.load(stream)
        return found


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("kind", ["b", "c"])
def test_as_a_task_does_it(tmp_path: pathlib.Path, shell: str, kind: str) -> None:
    host = Host(tmp_path, ODD)
    before = [(7, 10 + number) for number in range(len(ODD))]
    config = host.devices(kind, before)
    done = host.start(config, shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")
    assert host.used() == config
    # All of them have another place, the first one what the second one had.
    host.devices(kind, [*before[1:], (259, 1048575)])
    assert host.start(config, shell).returncode == 0
    assert host.used() == device_numbers.resolved(config)
    assert host.used()["linux"]["devices"][-1]["minor"] == 1048575


def test_two_names_of_what_was_one_device(tmp_path: pathlib.Path) -> None:
    host = Host(tmp_path, ["a", "b"])
    config = host.devices("b", [(7, 1), (7, 1)])
    host.devices("b", [(7, 1), (7, 2)])
    assert host.start(config, "/bin/sh").returncode == 0
    used, other = host.used()["linux"], device_numbers.resolved(config)["linux"]
    assert used["devices"] == other["devices"]
    rules = {json.dumps(each) for each in used["resources"]["devices"]}
    assert rules == {json.dumps(each) for each in other["resources"]["devices"]}


@pytest.mark.parametrize("there", ["nothing", "another type", "a file"])
def test_a_device_that_is_not_there(tmp_path: pathlib.Path, there: str) -> None:
    host = Host(tmp_path, ["a"])
    config = host.devices("b", [(7, 1)])
    if there == "another type":
        host.devices("c", [(7, 1)])
    else:
        os.unlink(host.source(0))
    if there == "a file":
        pathlib.Path(host.source(0)).write_text("")
    done = host.start(config, "/bin/sh")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"There is no device {host.source(0)} (type b).\n"
    assert os.listdir(host.paths.bundle) == []


def test_an_unplugged_device_of_a_directory(tmp_path: pathlib.Path) -> None:
    host = Host(tmp_path, ["a", "b"])
    config = host.devices("c", [(116, 1), (116, 2)])
    sources = {f"/dev/{name}": [host.source(index)] for index, name in enumerate(host.names)}
    config["annotations"][DEVICES] = json.dumps(sources)
    host.devices("c", [(116, 2), (116, 1)])
    os.unlink(host.source(1))
    done = host.start(config, "/bin/sh")
    assert (done.returncode, done.stderr) == (0, "")
    assert host.used() == device_numbers.resolved(config)
    assert host.used()["linux"]["devices"][1]["minor"] == 0


@pytest.mark.parametrize("change", [{"annotations": {}}, {"linux": {}}, {"linux": {"devices": [{"path": "/dev/a"}]}}])
def test_a_config_without_devices_to_find(tmp_path: pathlib.Path, change: dict[str, t.Any]) -> None:
    host = Host(tmp_path, ["a"])
    assert device_script.parts({**host.devices("b", [(7, 1)]), **change}, host.paths) == {}


def test_with_busybox(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("there is no busybox")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "sed", "stat"):
        (programs / name).symlink_to(busybox)
    monkeypatch.setenv("PATH", str(programs))
    host = Host(tmp_path, ODD)
    config = host.devices("b", [(7, number) for number in range(len(ODD))])
    host.devices("b", [(8, number) for number in range(len(ODD))])
    done = host.start(config, f"{programs}/sh")
    assert (done.returncode, done.stderr) == (0, "")
    assert host.used() == device_numbers.resolved(config)
