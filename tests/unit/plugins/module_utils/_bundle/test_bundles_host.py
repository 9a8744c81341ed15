# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a bundle, and of what its container wrote, when the host changes and the task does not."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.capabilities import CAPABILITIES
from ansible_collections.longshore.oci.plugins.module_utils._bundle import facts
from ansible_collections.longshore.oci.plugins.module_utils._bundle.bundles import Bundles
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Action, Facts, Options, Request
from ansible_collections.longshore.oci.plugins.module_utils._config.config import DEVICES
from ansible_collections.longshore.oci.plugins.module_utils._config.config_differences import ASKED

OLD = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
NEW = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "futex_wait"], "action": "SCMP_ACT_ALLOW"}]}
BEFORE: dict[str, t.Any] = {
    "seccomp": OLD, "capabilities": CAPABILITIES[:38], "resolv_conf": "/etc/resolv.conf", "apparmor": "containers-default-0.44",
    "pids": True, "swap": True, "recursive": False, "cgroup2": False, "most": {"RLIMIT_NOFILE": 1024},
    "devices": (({"path": "/dev/disk", "type": "b", "major": 7, "minor": 100}, "rwm"),),
}  # fmt: skip
CHANGES: dict[str, t.Any] = {
    "seccomp": NEW, "capabilities": CAPABILITIES, "resolv_conf": "/run/systemd/resolve/resolv.conf",
    "apparmor": "containers-default-0.57", "pids": False, "swap": False, "recursive": True, "cgroup2": True,
    "most": {"RLIMIT_NOFILE": 65536}, "devices": (({"path": "/dev/disk", "type": "b", "major": 7, "minor": 101}, "rwm"),),
}  # fmt: skip
# With each of them in the config.
OPTIONS = Options(
    argv=("/x",),
    capabilities_add=("all",),
    network="host",
    devices=("/dev/disk",),
    memory="64m",
    mounts=("/:/host:ro",),
)


class Host:
    """The facts that the host has now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, gather = dict(BEFORE), facts.gather

        def gathered(options: Options, *more: t.Any) -> Facts:
            return gather(options._replace(seccomp="unconfined", devices=()), *more)._replace(**self.now)

        monkeypatch.setattr(f"{Bundles.__module__}.gather", gathered)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


@pytest.fixture
def bundles(tmp_path: pathlib.Path) -> Bundles:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "x").write_text("#!/bin/sh\n")
    return Bundles(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def request(tmp_path: pathlib.Path, options: Options = OPTIONS) -> Request:
    return Request(f"{tmp_path}/web", rootfs=f"{tmp_path}/root", options=options)


def config(tmp_path: pathlib.Path) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads((tmp_path / "web" / "config.json").read_text())
    return found


@pytest.mark.parametrize("fact", [*CHANGES, "all of them"])
def test_the_root_file_system_outlives_a_change_of_the_host(
    tmp_path: pathlib.Path, bundles: Bundles, host: Host, fact: str
) -> None:
    made = bundles.converge(request(tmp_path))
    written = tmp_path / "web" / made.record.root / "written"
    written.write_text("by the container")
    before = config(tmp_path)
    host.now.update(CHANGES if fact == "all of them" else {fact: CHANGES[fact]})
    for check in (True, False):
        changed = bundles.converge(request(tmp_path), check=check)
        # It is reported, and the next container has what the host has now.
        assert changed.actions == (Action.CONFIG,)
        assert changed.plan.differences
    after = config(tmp_path)
    assert changed.record.root == made.record.root
    assert written.read_text() == "by the container"
    assert after != before
    assert after["annotations"][ASKED] == before["annotations"][ASKED]
    assert bundles.converge(request(tmp_path)).actions == ()


@pytest.mark.parametrize(
    "options",
    [
        {"seccomp": "unconfined"}, {"capabilities_add": ("NET_ADMIN",)}, {"devices": ("/dev/other:/dev/disk",)}, {"memory": "65m"},
        {"pids_limit": 7}, {"privileged": True}, {"ulimits": ("nofile=10",)}, {"mounts": ("/:/host",)}, {"env": {"A": "1"}},
    ],
)  # fmt: skip
def test_a_change_of_the_task_makes_the_bundle_anew(
    tmp_path: pathlib.Path, bundles: Bundles, host: Host, options: dict[str, t.Any]
) -> None:
    """Also if it comes together with one of the host."""
    made = bundles.converge(request(tmp_path))
    host.now.update(CHANGES)
    if "seccomp" in options or "privileged" in options:
        host.now["seccomp"] = None
    changed = bundles.converge(request(tmp_path, OPTIONS._replace(**options)))
    assert changed.actions == (Action.ROOTFS, Action.CONFIG)
    assert changed.record.root != made.record.root


def test_another_spelling_changes_nothing(tmp_path: pathlib.Path, bundles: Bundles, host: Host) -> None:
    one = OPTIONS._replace(
        mounts=("/:/a", "/usr:/b:ro,noexec"), tmpfs=("/t", "/s"), stop_signal="TERM", cpuset_cpus="0,1"
    )
    other = one._replace(
        mounts=("/usr/:/b:noexec,ro", "/:/a:rw"), tmpfs=("/s", "/t:rw"), stop_signal="SIGTERM", cpuset_cpus="0-1",
        devices=("/dev/disk:/dev/disk:mwr",),
    )  # fmt: skip
    made = bundles.converge(request(tmp_path, one))
    before = config(tmp_path)
    for check in (True, False):
        assert bundles.converge(request(tmp_path, other), check=check).actions == ()
    # Nor does the order of mounts in a config that is there.
    (tmp_path / "web" / "config.json").write_text(json.dumps({**before, "mounts": before["mounts"][::-1]}))
    assert bundles.converge(request(tmp_path, one)).actions == ()
    assert bundles.converge(request(tmp_path, one)).record.root == made.record.root


def test_a_profile_of_the_task_is_its_own(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    profile = tmp_path / "profile.json"
    options = Options(argv=("/x",), seccomp=str(profile))
    profile.write_text(json.dumps(OLD))
    bundles.converge(request(tmp_path, options))
    profile.write_text(json.dumps(NEW))
    assert bundles.converge(request(tmp_path, options)).actions == (Action.ROOTFS, Action.CONFIG)


def test_a_changed_host_and_a_config_without_annotations(tmp_path: pathlib.Path, bundles: Bundles, host: Host) -> None:
    options = OPTIONS._replace(spec={"annotations": None})
    bundles.converge(request(tmp_path, options))
    host.now.update(CHANGES)
    assert bundles.converge(request(tmp_path, options)).actions == (Action.CONFIG,)
    assert os.listdir(tmp_path / "web").count("config.json") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")
def test_a_device_by_its_name(tmp_path: pathlib.Path, bundles: Bundles) -> None:
    for minor in (100, 101):
        os.mknod(tmp_path / str(minor), 0o600 | stat.S_IFBLK, os.makedev(7, minor))
    link = tmp_path / "disk"
    link.symlink_to("100")
    options = Options(argv=("/x",), seccomp="unconfined", devices=(f"{link}:/dev/disk",))
    made = bundles.converge(request(tmp_path, options))
    assert json.loads(config(tmp_path)["annotations"][DEVICES]) == {"/dev/disk": str(link)}
    link.unlink()
    link.symlink_to("101")
    changed = bundles.converge(request(tmp_path, options))
    assert (changed.actions, changed.record.root) == ((Action.CONFIG,), made.record.root)
    assert changed.plan.differences == {
        "linux.devices.[/dev/disk].minor": (100, 101), "linux.resources.devices[1].minor": (100, 101),
    }  # fmt: skip
    # Another name of the same device is another wish.
    other = options._replace(devices=(f"{tmp_path}/101:/dev/disk",))
    assert bundles.converge(request(tmp_path, other)).actions == (Action.ROOTFS, Action.CONFIG)
