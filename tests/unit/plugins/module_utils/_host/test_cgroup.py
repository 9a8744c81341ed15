# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Against the real cgroups of this machine, whichever they are, and texts of others."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._host.cgroup import Layout

UNIFIED = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate,memory_recursiveprot 0 0"
LEGACY = """\
tmpfs /sys/fs/cgroup tmpfs ro,nosuid,nodev,noexec,mode=755 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,nosuid,nodev,noexec,relatime,xattr,release_agent=/lib/systemd/agent,name=systemd 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,nodev,noexec,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,nosuid,nodev,noexec,relatime,memory 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset,clone_children 0 0"""
V1 = (
    ("name=systemd", "/sys/fs/cgroup/systemd"), ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
    ("memory", "/sys/fs/cgroup/memory"), ("cpuset", "/sys/fs/cgroup/cpuset"),
)  # fmt: skip
HYBRID = f"{LEGACY}\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate 0 0"


def _layout(text: str) -> Layout:
    """Of lines that are shortened as in fstab(5): source, place, type and options."""
    lines = [line.split(" ") for line in text.split("\n") if line.count(" ") > 2]
    table = [f"9 1 0:9 / {place} rw - {kind} {source} {options}\n" for source, place, kind, options, *_zeros in lines]
    return cgroup.layout_of(mountinfo.parse("".join(table).encode()))


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "expected", "mode"),
    [
        (UNIFIED, Layout("/sys/fs/cgroup", ()), "unified"),
        (LEGACY, Layout(None, V1), "legacy"),
        (HYBRID, Layout("/sys/fs/cgroup/unified", V1), "hybrid"),
        # A container's view mounted into a tree of files, and what a container runtime mounts elsewhere.
        (f"{UNIFIED}\ncgroup2 /srv/root/sys/fs/cgroup cgroup2 rw 0 0", Layout("/sys/fs/cgroup", ()), "unified"),
        (f"{UNIFIED}\ncgroup2 /sys/fs/cgroup/again cgroup2 rw 0 0", Layout("/sys/fs/cgroup", ()), "unified"),
        ("", Layout(None, ()), "unified"),
    ],
)
def test_layout_of(text: str, expected: Layout, mode: str) -> None:
    found = _layout(text)
    assert found == expected
    assert found.mode == mode


@pytest.mark.pure
def test_a_mount_option_that_nobody_knew_is_no_controller() -> None:
    text = "cgroup /sys/fs/cgroup/cpu cgroup rw,seclabel,favordynmods,cpu 0 0"
    assert _layout(text).v1 == (("cpu", "/sys/fs/cgroup/cpu"),)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("0::/longshore/web\n", UNIFIED, "/longshore/web"),
        ("5:memory:/longshore/web\n2:cpu,cpuacct:/longshore/web\n1:name=systemd:/\n0::/\n", HYBRID, "/longshore/web"),
        # Not mounted here: the v1 hierarchies of the machine around a container, and v2 on a legacy host.
        ("5:memory:/machine/very/long/path\n0::/web\n", UNIFIED, "/web"),
        ("5:memory:/web\n0::/machine/very/long/path\n", LEGACY, "/web"),
        ("0::/a:b:c\n", UNIFIED, "/a:b:c"),
        ("", UNIFIED, None),
        ("broken\n", UNIFIED, None),
    ],
)
def test_parse_membership(text: str, where: str, expected: str | None) -> None:
    assert cgroup.parse_membership(text, _layout(where)) == expected


@pytest.mark.pure
def test_roots() -> None:
    assert _layout(HYBRID).roots() == ["/sys/fs/cgroup/unified"] + [mount for _names, mount in V1]


@pytest.mark.pure
def test_the_layout_of_this_machine() -> None:
    found = cgroup.layout()
    assert found.roots()
    assert all(os.path.exists(f"{root}/cgroup.procs") for root in found.roots())


class TestReal:
    def test_place(self, scratch_cgroup: str, spawn: t.Any) -> None:
        child = spawn()
        cgroup.place(f"{scratch_cgroup}/below", child.pid)
        assert cgroup.path_of(child.pid) == f"{scratch_cgroup}/below"
        assert cgroup_removal.members(scratch_cgroup) == [identify(child.pid)]
        assert cgroup_removal.members(f"{scratch_cgroup}/below") == [identify(child.pid)]

    def test_place_where_it_is_already(self, scratch_cgroup: str, spawn: t.Any) -> None:
        child = spawn()
        for _time in range(2):
            cgroup.place(scratch_cgroup, child.pid)
        assert cgroup.path_of(child.pid) == scratch_cgroup

    def test_placing_nobody_is_an_error(self, scratch_cgroup: str, spawn: t.Any) -> None:
        child = spawn("true")
        child.wait()
        with pytest.raises(OSError, match="No such process"):
            cgroup.place(scratch_cgroup, child.pid)

    def test_path_of_nobody(self, spawn: t.Any) -> None:
        child = spawn("true")
        child.wait()
        assert cgroup.path_of(child.pid) is None


def _host(root: pathlib.Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text == "directory":
            path.mkdir()
        else:
            path.write_text(text, encoding="ascii")
    return str(root)


@pytest.mark.parametrize(
    ("files", "uid", "expected"),
    [
        ({"cgroup.controllers": "cpuset cpu io memory pids\n"}, 0, {"cpuset", "cpu", "io", "memory", "pids"}),
        ({"cgroup.controllers": "\n"}, 0, set()),
        (dict.fromkeys(("cpu,cpuacct", "memory", "blkio", "systemd"), "directory"), 0, {"cpu", "cpuacct", "memory", "io"}),
        ({"memory": "directory", "unified/cgroup.controllers": "pids io\n"}, 0, {"memory", "pids", "io"}),
        ({}, 0, set()),
        ({"cgroup.controllers": "memory", "user.slice/user-7.slice/user@7.service/cgroup.controllers": "pids"}, 7, {"pids"}),
        ({"cgroup.controllers": "memory"}, 7, None),
        ({"memory": "directory"}, 7, None),
    ],
)  # fmt: skip
def test_the_controllers(tmp_path: pathlib.Path, files: dict[str, str], uid: int, expected: set[str] | None) -> None:
    assert cgroup.controllers(uid, _host(tmp_path, files)) == expected
