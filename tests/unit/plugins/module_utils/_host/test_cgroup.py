# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Against the real cgroups of this machine, whichever they are, and texts of others."""

from __future__ import annotations

import os
import pathlib
import signal
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base import mountinfo
from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.process import PidFd, identify, is_alive
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup
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


@pytest.mark.parametrize(
    "path", [None, "", "/", "//", ".", "/.", "/..", "/../..", "/./", "/../", "/a/..", "/a/b/../.."]
)
def test_nothing_is_done_to_the_root(
    path: str | None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, spawn: t.Any
) -> None:
    """Every process of the host is there, ourselves first of all. So here it is a root of plain files, with one process
    in it: the real one would not survive a failure of this test."""
    child = spawn()
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    for directory in (tmp_path, tmp_path / "root"):
        (directory / "cgroup.procs").write_text(f"{child.pid}\n", encoding="ascii")
        (directory / "cgroup.freeze").write_text("1\n", encoding="ascii")
    monkeypatch.setattr(cgroup, "layout", lambda: Layout(f"{tmp_path}/root", ()))
    assert cgroup.members("/") == []
    assert cgroup.directories(path) == []
    assert cgroup.members(path) == []
    assert cgroup.kill(path, Deadline(0)) == []
    assert cgroup.remove(path) == []
    assert cgroup.is_frozen(path) is False
    cgroup.thaw(path)
    assert child.poll() is None
    assert (tmp_path / "root" / "cgroup.freeze").read_text(encoding="ascii") == "1\n"
    assert (tmp_path / "root" / "a" / "b").is_dir()


def _leave(path: str) -> None:
    """Back to the root with this process, out of every hierarchy's cgroup."""
    for root in cgroup.layout().roots():
        if os.path.isdir(root + path):
            with open(f"{root}/cgroup.procs", "w", encoding="ascii") as stream:
                stream.write(str(os.getpid()))


class TestReal:
    def test_place(self, scratch_cgroup: str, spawn: t.Any) -> None:
        child = spawn()
        cgroup.place(f"{scratch_cgroup}/below", child.pid)
        assert cgroup.path_of(child.pid) == f"{scratch_cgroup}/below"
        assert cgroup.members(scratch_cgroup) == [identify(child.pid)]
        assert cgroup.members(f"{scratch_cgroup}/below") == [identify(child.pid)]

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

    def test_kill_takes_everything_below(self, scratch_cgroup: str, spawn: t.Any) -> None:
        children = [spawn() for _number in range(3)]
        for number, child in enumerate(children):
            cgroup.place(f"{scratch_cgroup}/{number}", child.pid)
        other = spawn()
        assert cgroup.kill(scratch_cgroup, Deadline(30)) == []
        assert [child.wait() for child in children] == [-signal.SIGKILL] * 3
        assert other.poll() is None
        assert cgroup.members(scratch_cgroup) == []

    def test_kill_of_what_goes_on_forking(self, scratch_cgroup: str, spawn: t.Any) -> None:
        child = spawn("sh", "-c", "while :; do sleep 60 & sleep 0; done")
        cgroup.place(scratch_cgroup, child.pid)
        assert cgroup.kill(scratch_cgroup, Deadline(30)) == []
        assert cgroup.members(scratch_cgroup) == []

    def test_kill_never_takes_ourselves(self, scratch_cgroup: str, spawn: t.Any) -> None:
        child = spawn()
        cgroup.place(scratch_cgroup, child.pid)
        cgroup.place(scratch_cgroup, os.getpid())
        # cgroup.kill of v2 would take the whole cgroup: this test is where it can be survived.
        has_kill = any(os.path.exists(f"{top}/cgroup.kill") for top in cgroup.directories(scratch_cgroup))
        try:
            assert os.getpid() not in [process.pid for process in cgroup.members(scratch_cgroup)]
            if not has_kill:
                assert cgroup.kill(scratch_cgroup, Deadline(30)) == []
        finally:
            _leave(scratch_cgroup)

    def test_remove(self, scratch_cgroup: str, spawn: t.Any) -> None:
        child = spawn()
        cgroup.place(f"{scratch_cgroup}/a/b", child.pid)
        left = cgroup.remove(scratch_cgroup)
        assert left
        assert all(scratch_cgroup in directory for directory in left)
        assert cgroup.kill(scratch_cgroup, Deadline(30)) == []
        assert cgroup.remove(scratch_cgroup) == []
        assert cgroup.directories(scratch_cgroup) == []
        assert cgroup.remove(scratch_cgroup) == []

    @pytest.mark.pure
    def test_a_cgroup_that_is_not_there(self, scratch_cgroup: str) -> None:
        assert cgroup.directories(scratch_cgroup) == []
        assert cgroup.members(scratch_cgroup) == []
        assert cgroup.kill(scratch_cgroup, Deadline(0)) == []
        assert cgroup.is_frozen(scratch_cgroup) is False
        cgroup.thaw(scratch_cgroup)


def _freezers() -> list[tuple[str, str, str, str]]:
    """The freezers of this machine: root, file, what freezes, what thaws."""
    where = cgroup.layout()
    found = [(mount, "freezer.state", "FROZEN", "THAWED") for names, mount in where.v1 if "freezer" in names.split(",")]
    return found + ([(where.v2, "cgroup.freeze", "1", "0")] if where.v2 else [])


@pytest.mark.parametrize("freezer", _freezers(), ids=lambda freezer: freezer[1])
class TestFreezers:
    @pytest.fixture
    def frozen(self, freezer: tuple[str, str, str, str], scratch_cgroup: str, spawn: t.Any) -> t.Iterator[int]:
        """A process that is frozen, by the runtime as it were."""
        root, name, freeze, thaw = freezer
        child = spawn()
        os.mkdir(root + scratch_cgroup)
        for file, text in (("cgroup.procs", str(child.pid)), (name, freeze)):
            with open(f"{root}{scratch_cgroup}/{file}", "w", encoding="ascii") as stream:
                stream.write(text)
        yield child.pid
        # Or else it could not be reaped.
        if os.path.exists(f"{root}{scratch_cgroup}/{name}"):
            with open(f"{root}{scratch_cgroup}/{name}", "w", encoding="ascii") as stream:
                stream.write(thaw)

    def test_it_is_seen_and_undone(self, freezer: t.Any, frozen: int, scratch_cgroup: str) -> None:
        assert cgroup.is_frozen(scratch_cgroup) is True
        cgroup.thaw(scratch_cgroup)
        assert cgroup.is_frozen(scratch_cgroup) is False
        with PidFd(identify(frozen)) as handle:
            handle.send(signal.SIGTERM)
            assert handle.wait(Deadline(30))

    def test_killing_what_is_frozen(self, freezer: t.Any, frozen: int, scratch_cgroup: str) -> None:
        found = identify(frozen)
        assert is_alive(found)
        assert cgroup.kill(scratch_cgroup, Deadline(30)) == []
        assert not is_alive(found)
