# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive.rights import differences, excess, named

pytestmark = pytest.mark.pure

CAPABILITIES = ["CAP_KILL", "CAP_CHOWN"]
# What oci_bundle and podman make, in short.
SPEC: dict[str, t.Any] = {
    "ociVersion": "1.0.2",
    "root": {"path": "/srv/web/rootfs", "readonly": True},
    "process": {
        "args": ["sleep", "1"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "noNewPrivileges": True, "oomScoreAdj": 10,
        "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}], "apparmorProfile": "containers-default",
        "selinuxLabel": "system_u:system_r:container_t:s0:c1,c2",
    },
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
        {"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind", "ro", "nosuid", "nodev"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}]},
        "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/scsi", "/proc/timer_list", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
}  # fmt: skip
BIND = {"type": "bind", "options": ["rbind"]}


def changed(*path: t.Any, value: t.Any = None, add: t.Any = None) -> dict[str, t.Any]:
    """The config with one thing set, taken away (None), or added to a list."""
    config = copy.deepcopy(SPEC)
    place: t.Any = config
    for key in path[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    if add is not None:
        place.setdefault(path[-1], [])
        place[path[-1]] = [*place[path[-1]], add]
    elif value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return config


CASES: list[tuple[dict[str, t.Any], str]] = [
    (changed("process", "capabilities", "bounding", add="CAP_SYS_ADMIN"), "capability CAP_SYS_ADMIN"),
    (changed("process", "capabilities", "effective", add="CAP_SYS_ADMIN"), "capability CAP_SYS_ADMIN (effective)"),
    (changed("process", "capabilities", "ambient", add="CAP_NET_RAW"), "capability CAP_NET_RAW (ambient)"),
    (changed("process", "noNewPrivileges"), "new privileges (noNewPrivileges is off)"),
    (changed("process", "user", value={"uid": 7, "gid": 0}), "the uid 7 (here it is 0)"),
    (changed("process", "user", "additionalGids", add=6), "the group 6"),
    (changed("process", "rlimits", value=[]), "no RLIMIT_NOFILE"),
    (changed("process", "rlimits", 0, "hard", value=21), "RLIMIT_NOFILE of 21 (here 20)"),
    (changed("process", "oomScoreAdj", value=-1000), "oomScoreAdj of -1000 (here 10)"),
    (changed("process", "apparmorProfile"), "no AppArmor profile"),
    (changed("process", "apparmorProfile", value="unconfined"), "the AppArmor profile unconfined"),
    (changed("process", "selinuxLabel"), "no SELinux label"),
    (changed("process", "selinuxLabel", value="u:r:spc_t:s0"), "the SELinux label u:r:spc_t:s0"),
    (changed("root", "readonly", value=False), "a writable root file system"),
    (changed("mounts", add={"destination": "/host", "source": "/etc", **BIND}), "a mount of /etc at /host"),
    (changed("mounts", add={"destination": "/x/../host", "source": "/etc", **BIND}), "a mount of /etc at /host"),
    (changed("mounts", add={"destination": "/x", "type": "tmpfs"}), "a mount at /x (tmpfs)"),
    (changed("mounts", 0, "options", value=[]), "a mount at /proc without nosuid"),
    (changed("mounts", 3, "options", value=["rbind", "nosuid", "nodev"]), "a mount at /data without ro"),
    (changed("mounts", 1, value={"destination": "/sys", "source": "/", **BIND}), "a mount of / at /sys of the kind bind (here sysfs)"),
    (changed("linux", "namespaces", value=[{"type": k} for k in ("network", "ipc", "uts", "mount", "cgroup")]), "the pid namespace of the host"),
    (changed("linux", "namespaces", 1, value={"type": "network", "path": "/proc/1/ns/net"}), "the network namespace /proc/1/ns/net"),
    (changed("linux", "uidMappings", value=[{"containerID": 0, "hostID": 0, "size": 1}]), "other uidMappings"),
    (changed("linux", "maskedPaths", value=["/proc/kcore"]), "/proc/keys not masked"),
    (changed("linux", "readonlyPaths", value=[]), "/proc/sys not read-only"),
    (changed("linux", "devices", add={"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}), "device /dev/sda"),
    (changed("linux", "resources", "devices", add={"allow": True, "access": "rwm"}), "access to all devices"),
    (changed("linux", "resources", "devices", add={"allow": True, "type": "b", "major": 8, "minor": -1}), "access to the devices b 8:* (mrw)"),
    (changed("linux", "seccomp"), "no seccomp"),
    (changed("linux", "seccomp", "defaultAction", value="SCMP_ACT_ALLOW"), "seccomp that allows by default (SCMP_ACT_ALLOW)"),
    (changed("linux", "seccomp", "syscalls", add={"names": ["bpf", "add_key"], "action": "SCMP_ACT_ALLOW"}), "the system calls add_key, bpf"),
    (changed("linux", "sysctl", value={"kernel.core_pattern": "|/x"}), "sysctl kernel.core_pattern=|/x"),
    (changed("hooks", "createRuntime", add={"path": "/bin/sh", "args": ["sh", "-c", "id"]}), "hook createRuntime /bin/sh"),
    (changed("hooks", "poststop", add={}), "hook poststop"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "name"), CASES, ids=[name for _asked, name in CASES])
def test_more_rights_are_named(asked: dict[str, t.Any], name: str) -> None:
    assert name in excess(asked, SPEC)
    # Who allows it here is asked nothing, but for what makes it another container.
    assert excess(asked, asked) == []


def test_the_same_has_nothing_more_and_fits() -> None:
    assert excess(SPEC, SPEC) == []
    assert differences(SPEC, SPEC) == []


@pytest.mark.parametrize(
    "asked",
    [
        changed("process", "capabilities", value={}),
        changed("process", "user", "additionalGids", add=SPEC["process"]["user"].get("gid", 0)),
        changed("process", "rlimits", 0, "hard", value=1),
        changed("process", "selinuxLabel", value="system_u:system_r:container_t:s0:c7,c9"),
        changed("process", "oomScoreAdj", value=1000),
        changed("linux", "maskedPaths", add="/proc/more"),
        changed("linux", "seccomp", "syscalls", value=[]),
        changed("annotations", value={"org.criu.config": "/x"}),
        changed("process", "args", value=["other"]),
        changed("mounts", 0, "options", value=["nosuid", "noexec", "nodev", "ro"]),
        changed("mounts", 4, "type", value="cgroup2"),
    ],
)  # fmt: skip
def test_less_is_no_excess(asked: dict[str, t.Any]) -> None:
    assert excess(asked, SPEC) == []


@pytest.mark.parametrize(
    ("asked", "difference"),
    [
        (changed("process", "terminal", value=True), "it has a terminal"),
        (changed("mounts", value=SPEC["mounts"][1:]), "it has nothing mounted at /proc"),
        (changed("linux", "namespaces", add={"type": "user"}), "it has a user namespace of its own"),
    ],
)
def test_what_does_not_fit(asked: dict[str, t.Any], difference: str) -> None:
    assert differences(asked, SPEC) == [difference]


def test_a_namespace_that_is_joined_here() -> None:
    here = changed("linux", "namespaces", 1, value={"type": "network", "path": "/run/netns/a"})
    assert differences(SPEC, here) == ["it has a network namespace of its own"]
    there = changed("linux", "namespaces", 1, value={"type": "network", "path": "/run/netns/b"})
    assert excess(there, here) == differences(there, here) == []


def test_a_list_of_what_is_forbidden() -> None:
    forbids = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["bpf", "add_key"], "action": "SCMP_ACT_ERRNO"}],
    }
    here = changed("linux", "seccomp", value=forbids)
    less = changed(
        "linux", "seccomp", value={**forbids, "syscalls": [{"names": ["add_key"], "action": "SCMP_ACT_ERRNO"}]}
    )
    assert excess(less, here) == ["the system calls bpf"]
    assert excess(SPEC, here) == []


def test_what_is_named_is_short_and_printable() -> None:
    assert named(["a\n\x1b\ud800", "b"]) == "a\\n\\x1b\\ud800, b"
    assert named([str(number) for number in range(20)]).endswith("11 and 8 more")
    assert len(named(["x" * 10_000])) < 200
