# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""More ports than the soft limit of open files, with real sockets and a real conmon."""

from __future__ import annotations

import os
import pathlib
import resource
import socket
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._ports import open_files
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    Action,
    CgroupManager,
    Definition,
    Desired,
    Goal,
    Status,
    Timeouts,
)  # fmt: skip
from ansible_collections.longshore.oci.tests.unit import bundle

pytestmark = pytest.mark.pure

NOFILE = resource.RLIMIT_NOFILE


@pytest.fixture
def limit() -> t.Iterator[t.Callable[[int], None]]:
    before = resource.getrlimit(NOFILE)
    yield lambda soft: resource.setrlimit(NOFILE, (soft, before[1]))
    resource.setrlimit(NOFILE, before)


@pytest.mark.impure
@pytest.mark.parametrize("ports", [0, 1, 100, 300, 1201])
def test_there_is_room_and_the_limit_is_as_before(ports: int, limit: t.Callable[[int], None]) -> None:
    limit(256)
    before = resource.getrlimit(NOFILE)
    with open_files.room_for(ports):
        opened = [socket.socket() for _port in range(ports)]
        assert resource.getrlimit(NOFILE)[1] == before[1]
        assert (resource.getrlimit(NOFILE) == before) == (ports <= 100)
        for each in opened:
            each.close()
    assert resource.getrlimit(NOFILE) == before


@pytest.mark.parametrize("hard", [400, 1024, 20000])
def test_too_many_for_the_hard_limit(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, hard))
    open_files.check(hard - 200)
    with pytest.raises(
        InvalidOption, match=rf"{hard} ports need more open files than the {hard} that are allowed here\."
    ):
        open_files.check(hard)
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, resource.RLIM_INFINITY))
    open_files.check(hard)


@pytest.mark.impure
@pytest.mark.parametrize(
    "ports", [("21000-21400",), ("127.0.0.1:21000-21299/tcp", "21300-21600/udp"), tuple(map(str, range(21000, 21350)))]
)
def test_a_container_with_many(
    tmp_path: pathlib.Path, scratch_cgroup: str, limit: t.Callable[[int], None], ports: tuple[str, ...]
) -> None:
    (tmp_path / "bundle").mkdir()
    bundle.make(tmp_path / "bundle", "sleep", "60")
    containers = Containers(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    wanted = Definition(
        bundle=f"{tmp_path}/bundle",
        runtime="runc",
        cgroup_manager=CgroupManager.CGROUPFS,
        cgroup_parent=scratch_cgroup,
        reserve_ports=ports,
    )
    name = os.path.basename(scratch_cgroup)

    def converge(goal: Goal, definition: Definition | None) -> t.Any:
        return containers.converge(Desired(name, goal, definition, timeouts=Timeouts(stop=0)))

    limit(256)
    try:
        outcome = converge(Goal.STARTED, wanted)
        assert (outcome.after.status, outcome.warnings) == (Status.RUNNING, ())
        assert resource.getrlimit(NOFILE)[0] == 256
        descriptors = f"/proc/{outcome.after.record.monitor.pid}/fd"
        held = [os.readlink(f"{descriptors}/{number}") for number in os.listdir(descriptors)]
        assert sum(each.startswith("socket:") for each in held) >= 350
        with socket.socket() as client, pytest.raises(OSError, match="Address already in use"):
            client.bind(("127.0.0.1", 21010))
        assert converge(Goal.STARTED, wanted).actions == ()
        assert converge(Goal.RESTARTED, None).actions[0] is Action.STOP
        assert converge(Goal.STOPPED, None).after.exit.code == 137
    finally:
        converge(Goal.ABSENT, None)
