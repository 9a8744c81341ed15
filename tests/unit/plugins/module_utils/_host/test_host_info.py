# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host can do, and why not."""

from __future__ import annotations

import json
import os
import pathlib
import shutil

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._criu import criu
from ansible_collections.longshore.oci.plugins.module_utils._host import detect, host_info
from ansible_collections.longshore.oci.plugins.module_utils._runtime.drivers import DRIVERS
from ansible_collections.longshore.oci.plugins.module_utils._state.model import CgroupManager, Program

pytestmark = pytest.mark.pure

X86 = "processor\t: 0\nmodel name\t: flags\nflags\t\t: sse fpu\nbugs\t: x\n\nprocessor\t: 1\nflags\t\t: avx\n"
ARM = "processor\t: 0\nBogoMIPS\t: 48.00\nFeatures\t: fp asimd evtstrm\n"


@pytest.mark.parametrize(
    ("text", "features"), [(X86, ["fpu", "sse"]), (ARM, ["asimd", "evtstrm", "fp"]), ("", []), ("processor: 0\n", [])]
)
def test_features_of_the_first_processor(text: str, features: list[str]) -> None:
    assert host_info.cpu_features(text) == features


class Host(detect.Host):
    """A host without conmon, whose only program is a crun that cannot be used."""

    def __init__(self) -> None: ...

    def conmon(self, wanted: str | None) -> Program:
        raise MissingPrerequisite("conmon is not installed.", hint="Install it.")

    def runtime(self, wanted: str) -> Program:
        if wanted != "runc":
            raise InvalidOption(f"{wanted} cannot be used.")
        return Program("runc", "/usr/bin/runc", "1.1.5")

    def cgroup_manager(self, wanted: CgroupManager) -> CgroupManager:
        return CgroupManager.CGROUPFS


def test_a_program_that_cannot_be_used_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(criu, "find", lambda: None)
    monkeypatch.setattr(host_info, "find_program", lambda name: f"/usr/bin/{name}")
    found = host_info.survey(Host())
    assert found == json.loads(json.dumps(found))
    assert found["conmon"] == {
        "name": None,
        "path": None,
        "version": None,
        "reason": "conmon is not installed. Install it.",
    }
    assert found["criu"] == {"name": None, "path": None, "version": None, "tracks_memory": False}
    assert found["cgroup"]["manager"] == {"manager": "cgroupfs", "reason": None}
    runtimes = {each["name"]: each for each in found["runtimes"]}
    assert runtimes.keys() == set(DRIVERS)
    assert [(each["path"], each["works"], each["reason"]) for each in (runtimes["crun"], runtimes["runc"])] == [
        ("/usr/bin/crun", False, "crun cannot be used."), ("/usr/bin/runc", True, None),
    ]  # fmt: skip
    # Without CRIU there is no checkpoint, whatever a runtime could do.
    assert [each["checkpoint"]["works"] for each in runtimes.values()] == [False, False]
    assert runtimes["crun"]["checkpoint"]["options"] == {"checkpoint": [], "restore": []}
    assert "pre_dump" in runtimes["runc"]["checkpoint"]["options"]["checkpoint"]


@pytest.mark.impure
def test_runtimes_have_the_names_that_tasks_choose_them_by(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is another program in truth: ``runtime: crun`` would run it."""
    program = tmp_path / "crun"
    program.write_text(f'#!/bin/sh\nexec {shutil.which("runc")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    crun, runc = host_info.survey(detect.Host(run_dir=str(tmp_path)))["runtimes"]
    assert (crun["name"], runc["name"]) == ("crun", "runc")
    assert (crun["path"], crun["version"]) == (str(program), runc["version"])
