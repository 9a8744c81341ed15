# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Against the real cgroups of this machine, whichever they are."""

from __future__ import annotations

import os
import pathlib
import signal
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify, is_alive
from ansible_collections.longshore.oci.plugins.module_utils._host import cgroup, cgroup_removal
from ansible_collections.longshore.oci.plugins.module_utils._host.cgroup import Layout


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
    assert cgroup_removal.members("/") == []
    assert cgroup.directories(path) == []
    assert cgroup_removal.members(path) == []
    assert cgroup_removal.kill(path, Deadline(0)) == []
    assert cgroup_removal.remove(path) == []
    assert cgroup.is_frozen(path) is False
    cgroup_removal.thaw(path)
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
    def test_kill_takes_everything_below(self, scratch_cgroup: str, spawn: t.Any) -> None:
        children = [spawn() for _number in range(3)]
        for number, child in enumerate(children):
            cgroup.place(f"{scratch_cgroup}/{number}", child.pid)
        other = spawn()
        assert cgroup_removal.kill(scratch_cgroup, Deadline(30)) == []
        assert [child.wait() for child in children] == [-signal.SIGKILL] * 3
        assert other.poll() is None
        assert cgroup_removal.members(scratch_cgroup) == []

    def test_kill_of_what_goes_on_forking(self, scratch_cgroup: str, spawn: t.Any) -> None:
        child = spawn("sh", "-c", "while :; do sleep 60 & sleep 0; done")
        cgroup.place(scratch_cgroup, child.pid)
        assert cgroup_removal.kill(scratch_cgroup, Deadline(30)) == []
        assert cgroup_removal.members(scratch_cgroup) == []

    def test_kill_never_takes_ourselves(self, scratch_cgroup: str, spawn: t.Any) -> None:
        child = spawn()
        cgroup.place(scratch_cgroup, child.pid)
        cgroup.place(scratch_cgroup, os.getpid())
        # cgroup.kill of v2 would take the whole cgroup: this test is where it can be survived.
        has_kill = any(os.path.exists(f"{top}/cgroup.kill") for top in cgroup.directories(scratch_cgroup))
        try:
            assert os.getpid() not in [process.pid for process in cgroup_removal.members(scratch_cgroup)]
            if not has_kill:
                assert cgroup_removal.kill(scratch_cgroup, Deadline(30)) == []
        finally:
            _leave(scratch_cgroup)

    def test_remove(self, scratch_cgroup: str, spawn: t.Any) -> None:
        child = spawn()
        cgroup.place(f"{scratch_cgroup}/a/b", child.pid)
        left = cgroup_removal.remove(scratch_cgroup)
        assert left
        assert all(scratch_cgroup in directory for directory in left)
        assert cgroup_removal.kill(scratch_cgroup, Deadline(30)) == []
        assert cgroup_removal.remove(scratch_cgroup) == []
        assert cgroup.directories(scratch_cgroup) == []
        assert cgroup_removal.remove(scratch_cgroup) == []

    @pytest.mark.pure
    def test_a_cgroup_that_is_not_there(self, scratch_cgroup: str) -> None:
        assert cgroup.directories(scratch_cgroup) == []
        assert cgroup_removal.members(scratch_cgroup) == []
        assert cgroup_removal.kill(scratch_cgroup, Deadline(0)) == []
        assert cgroup.is_frozen(scratch_cgroup) is False
        cgroup_removal.thaw(scratch_cgroup)


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
        cgroup_removal.thaw(scratch_cgroup)
        assert cgroup.is_frozen(scratch_cgroup) is False
        with PidFd(identify(frozen)) as handle:
            handle.send(signal.SIGTERM)
            assert handle.wait(Deadline(30))

    def test_killing_what_is_frozen(self, freezer: t.Any, frozen: int, scratch_cgroup: str) -> None:
        found = identify(frozen)
        assert is_alive(found)
        assert cgroup_removal.kill(scratch_cgroup, Deadline(30)) == []
        assert not is_alive(found)
