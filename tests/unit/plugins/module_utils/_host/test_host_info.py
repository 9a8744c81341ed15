# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import shutil

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._host import host_info
from ansible_collections.longshore.oci.plugins.module_utils._host.detect import Host


def test_runtimes_have_the_names_that_tasks_choose_them_by(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is another program in truth: ``runtime: crun`` would run it."""
    program = tmp_path / "crun"
    program.write_text(f'#!/bin/sh\nexec {shutil.which("runc")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    crun, runc = host_info.survey(Host(run_dir=str(tmp_path), remember=False))["runtimes"]
    assert (crun["name"], runc["name"]) == ("crun", "runc")
    assert (crun["path"], crun["version"]) == (str(program), runc["version"])
