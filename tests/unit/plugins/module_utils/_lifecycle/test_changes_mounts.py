# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container with a mount whose source is another one by now: it is told, and makes no new container."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._config import config
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle import changes
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Desired
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders
from ansible_collections.longshore.oci.tests.unit.bind_mounts import bind, container

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


def _mount_from_another_device(directory: pathlib.Path) -> None:
    """Mount ``conf`` from a file system in memory, where it has the same path as here."""
    (directory / "memory").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", f"{directory}/memory"], check=True)
    conf = pathlib.Path(f"{directory}/memory{directory}/conf")
    conf.mkdir(parents=True)
    (conf / "file").write_text("another")
    subprocess.run(["mount", "--bind", conf, f"{directory}/conf"], check=True)
    subprocess.run(["umount", "-l", f"{directory}/memory"], check=True)


def _change(how: str, directory: pathlib.Path, source: pathlib.Path, pid: int) -> None:
    other, former = directory / "other", directory / "former"
    if how == "written":
        source.write_text("other")
    elif how == "replaced":
        (other / "file").replace(source)
    elif how == "moved":
        (directory / "conf").rename(former)
        other.rename(directory / "conf")
    elif how in ("linked", "link"):
        source.rename(former)
        source.symlink_to(other / "file")
    elif how == "mounted":
        subprocess.run(["mount", "--bind", other, f"{directory}/conf"], check=True)
    elif how == "device":
        subprocess.run(["umount", f"{directory}/conf"], check=True)
    elif how == "ended":  # Nobody has waited for it yet: the table of its mounts cannot be read.
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("name", ["place", "a \\040 place", "a\nplace"])
@pytest.mark.parametrize(
    "how", ["nothing", "written", "replaced", "moved", "linked", "mounted", "device", "link", "ended"]
)
def test_the_source_of_a_mount(tmp_path: pathlib.Path, how: str, name: str) -> None:
    tmp_path /= name
    tmp_path.mkdir()
    for name in ("bundle/rootfs", "conf", "other"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("conf/file", "other/file", "place"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("conf/file")
    source = tmp_path / ("link" if how == "link" else "conf/file")
    mount = bind(source, tmp_path / "place")
    (tmp_path / "bundle/config.json").write_text(json.dumps(builders.config(mounts=[mount])))
    if how == "device":  # with the same path on another file system
        _mount_from_another_device(tmp_path)
    store = Store(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    with container(mount) as pid:
        record = builders.record(definition=builders.definition(bundle=f"{tmp_path}/bundle"), init=identify(pid))
        saved = config.effective(config.read_bundle(f"{tmp_path}/bundle"), record, store.paths("web"))
        path = pathlib.Path(store.paths("web").config)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(saved))

        def found() -> tuple[object, ...]:
            return changes.compare(store, Desired("web", definition=record.definition), record.definition, record)

        assert found() == ({}, {}, [])
        _change(how, tmp_path, source, pid)
        try:
            seen = found()
        finally:
            if how == "mounted":
                subprocess.run(["umount", f"{tmp_path}/conf"], check=True)
    assert seen == ({}, {}, [] if how in ("nothing", "written", "ended") else [f"the source of {tmp_path}/place"])
