# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts that a checkpoint would lose: by the table of mounts of a container, as the kernel writes it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import WrongState
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import dump_mounts
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

ROOT = "1164 1018 0:125 /srv/web/rootfs / rw,relatime - overlay overlay rw"
TMPFS = "1165 1164 0:61 / /run rw,nosuid - tmpfs tmpfs rw"


def bind(place: str, source: str, kind: str = "bind") -> dict[str, t.Any]:
    return {"destination": place, "source": source, "type": kind, "options": ["bind"]}


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("1172 1164 0:125 /srv/a /etc/a ro,relatime - overlay overlay rw", None),
        ("1172 1164 0:125 /srv/a//deleted /etc/a ro,relatime - overlay overlay rw", "/srv/a, which is mounted at /etc/a"),
        (r"1172 1164 8:1 /srv/a\040b//deleted /etc/a\040b ro - ext4 /dev/vda1 rw", "/srv/a b, which is mounted at /etc/a b"),
        # A directory, below a symbolic link of the config.
        ("1172 1164 8:1 /srv/d//deleted /run/d rw - ext4 /dev/vda1 rw", "/srv/d, which is mounted at /run/d"),
        # A file in /run of the host.
        ("1172 1164 0:24 /secrets/key//deleted /etc/key ro - tmpfs tmpfs rw", "/secrets/key, which is mounted at /etc/key"),
        # Below the tmpfs of the container itself: CRIU has its content.
        ("1172 1164 0:61 /mine//deleted /mnt rw - tmpfs tmpfs rw", None),
        ("1172 1164 0:61 /mine//deleted /etc/a rw - tmpfs tmpfs rw", "/mine, which is mounted at /etc/a"),
    ],
)  # fmt: skip
def test_a_source_that_was_removed_or_replaced(line: str, gone: str | None) -> None:
    found = list(mountinfo.parse("\n".join([ROOT, TMPFS, line]).encode()))
    config = {"mounts": [bind("/etc/a", "/srv/a"), bind("/var/run/d", "/srv/d")]}
    if gone is None:
        dump_mounts.check_sources("web", config, found)
        return
    with pytest.raises(WrongState, match=f"web cannot be checkpointed: {gone}, was removed or replaced") as raised:
        dump_mounts.check_sources("web", config, found)
    assert "Restart the container" in raised.value.hint


@pytest.fixture
def root(tmp_path: pathlib.Path) -> str:
    for name in ("var", "run", "usr/lib", "opt/real"):
        os.makedirs(f"{tmp_path}/rootfs/{name}")
    os.symlink("/run", f"{tmp_path}/rootfs/var/run")
    os.symlink("usr/lib", f"{tmp_path}/rootfs/lib")
    os.symlink("opt/real", f"{tmp_path}/rootfs/data")
    return f"{tmp_path}/rootfs"


@pytest.mark.parametrize(
    ("place", "real"),
    [("/var/run/secrets", "/run/secrets"), ("/lib/x", "/usr/lib/x"), ("/data", "/opt/real"), ("/d/", "/d"), ("/opt/../d", "/d"), ("d", "/d")],
)  # fmt: skip
def test_a_destination_over_a_link(root: str, place: str, real: str) -> None:
    found = list(mountinfo.parse(f"{ROOT}\n1172 1164 0:125 /srv/a {real} ro - overlay overlay rw".encode()))
    config = {"root": {"path": root}, "mounts": [bind(place, "/srv/a")]}
    for name, version in (("runc", "1.1.15"), ("crun", "1.22"), ("crun", "1.28"), ("youki", "0.5")):
        dump_mounts.check_places("web", Program(name, f"/usr/bin/{name}", version), config, found)
    crun = Program("crun", "/usr/bin/crun", "1.21")
    with pytest.raises(
        WrongState, match=f"mount at {place} is at {real} in its root file system, and crun 1.21"
    ) as raised:
        dump_mounts.check_places("web", crun, config, found)
    assert raised.value.hint == f"Use {real} as the destination of the mount, or crun 1.22 or newer."


def test_what_is_where_the_config_says_or_not_mounted_any_more(root: str) -> None:
    found = list(mountinfo.parse(f"{ROOT}\n1172 1164 0:125 /srv/a /run/a ro - overlay overlay rw".encode()))
    mounts = [bind("/run/a", "/srv/a"), bind("/var/run/gone", "/srv/a"), bind("/var/run", "tmpfs", "tmpfs")]
    mounts[2]["options"] = []
    config = {"root": {"path": root}, "mounts": mounts}
    dump_mounts.check_places("web", Program("crun", "/usr/bin/crun", "1.21"), config, found)


@pytest.mark.impure
def test_a_real_process_with_a_replaced_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "place").touch()
    (tmp_path / "new").write_text("new")
    script = 'mount --bind "$1/a" "$1/place" && mv "$1/new" "$1/a" && echo ready && exec sleep 60'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            record = builders.record(init=identify(process.pid))
            config = {"root": {"path": "/"}, "mounts": [bind(f"{tmp_path}/place", f"{tmp_path}/a")]}
            with pytest.raises(WrongState, match="removed or replaced"):
                dump_mounts.check_mounts(record, config)
        finally:
            process.kill()
    dump_mounts.check_mounts(builders.record(init=identify(process.pid)), config)
