# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive import default_config
from ansible_collections.longshore.oci.plugins.module_utils._archive.rights import differences, excess
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import spec as bundle_spec
from ansible_collections.longshore.oci.tests.unit.plugins.module_utils._archive.test_rights import (
    BIND,
    CASES,
    SPEC,
    changed,
)

pytestmark = pytest.mark.pure


def within(spec: dict[str, t.Any]) -> dict[str, t.Any]:
    return default_config.within(spec, "/r", generated=lambda mount: mount["destination"] == "/etc/hosts")


def test_the_defaults_take_what_podman_makes() -> None:
    plain = changed("mounts", value=[mount for mount in SPEC["mounts"] if mount["destination"] != "/data"])
    plain["mounts"].append({"destination": "/etc/hosts", "source": "/x/userdata/hosts", **BIND})
    assert excess(plain, within(plain)) == []
    assert differences(plain, within(plain)) == []
    assert within(plain)["root"] == {"path": "/r", "readonly": True}
    assert {"annotations", "hooks"} & within(
        {**plain, "annotations": {"a": "b"}, "hooks": {"poststop": [{}]}}
    ).keys() == set()


NOT_BY_DEFAULT = [
    (asked, name)
    for asked, name in CASES
    # Of these nothing is said by default, or the container may have them: they take nothing from the host.
    if not name.startswith(("the uid", "the group", "no RLIMIT", "RLIMIT", "no AppArmor", "no SELinux", "the AppArmor", "the SELinux", "new priv"))
    and name not in ("a writable root file system", "a mount at /x (tmpfs)", "a mount at /data without ro")
]  # fmt: skip


@pytest.mark.parametrize(("asked", "name"), NOT_BY_DEFAULT, ids=[name for _asked, name in NOT_BY_DEFAULT])
def test_what_is_beyond_the_defaults(asked: dict[str, t.Any], name: str) -> None:
    said = " ".join(excess(asked, within(asked)))
    assert all(
        word in said
        for word in name.replace(" (here 10)", "")
        .replace(" (here sysfs)", "")
        .split(" of the kind")[0]
        .split(" without ")[0]
        .split()
    )


@pytest.mark.parametrize(
    "mount",
    [
        {"destination": "/proc/self", "type": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/proc", "type": "tmpfs"},
        {"destination": "//proc//sys", "type": "tmpfs"},
        {"destination": "/x/../proc", "type": "tmpfs"},
        {"destination": "/", "type": "tmpfs"},
        {"destination": "/sys", "type": "sysfs", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/x", "type": "overlay", "options": ["lowerdir=/"]},
        {"destination": "/x", "type": "ext4", "source": "/dev/sda1"},
        {"destination": "/x", "type": "tmpfs", "options": ["rbind"], "source": "/"},
        {"destination": "/x", "type": "none", "options": ["bind"], "source": "/"},
        {"destination": "/etc/hostname", "type": "bind", "source": "/etc/shadow"},
    ],
)
def test_mounts_that_no_default_has(mount: dict[str, t.Any]) -> None:
    assert within({**SPEC, "mounts": [mount]})["mounts"] == []
    assert [
        text for text in excess({**SPEC, "mounts": [mount]}, within({**SPEC, "mounts": [mount]})) if "a mount" in text
    ]


def test_the_defaults_are_those_of_oci_bundle() -> None:
    assert set(default_config.MASKED) <= set(bundle_spec.MASKED)
    assert set(default_config.READ_ONLY) <= set(bundle_spec.READ_ONLY)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("apparmorProfile", "unconfined", "the AppArmor profile unconfined"),
        ("apparmorProfile", "/usr/sbin/sshd", "the AppArmor profile /usr/sbin/sshd"),
        ("apparmorProfile", "containers-default-0.62.2", ""),
        ("apparmorProfile", "docker-default", ""),
        ("selinuxLabel", "system_u:system_r:spc_t:s0", "the SELinux label system_u:system_r:spc_t:s0"),
        ("selinuxLabel", "unconfined_u:unconfined_r:unconfined_t:s0", "the SELinux label unconfined_u"),
        ("selinuxLabel", "system_u:system_r:container_t:s0:c1,c2", ""),
    ],
)
def test_an_archive_does_not_choose_its_confinement(name: str, value: str, says: str) -> None:
    """Where this host has a root file system alone for it. One that hosts of ours give to containers is kept."""
    asked = changed("process", name, value=value)
    found = within(asked)
    assert says in " ".join(excess(asked, found))
    assert found["process"][name] == value if not says else found["process"][name] != value


@pytest.mark.parametrize(
    ("linux", "kept"),
    [
        ({"sysctl": {"net.ipv4.ip_forward": "1", "kernel.sem": "1", "vm.swappiness": "1"}}, {"net.ipv4.ip_forward": "1", "kernel.sem": "1"}),
        ({"sysctl": {"net.x": "1"}, "namespaces": [{"type": "network", "path": "/run/netns/a"}]}, {}),
        ({"sysctl": {"net.x": "1"}, "namespaces": []}, {}),
        ({"sysctl": {"kernel.hostname": "x", "kernel.modprobe": "/x"}}, {"kernel.hostname": "x"}),
    ],
)  # fmt: skip
def test_sysctls_are_of_namespaces_of_its_own(linux: dict[str, t.Any], kept: dict[str, str]) -> None:
    assert within({**SPEC, "linux": {**SPEC["linux"], **linux}})["linux"]["sysctl"] == kept


def test_seccomp_keeps_what_is_refused_and_forbids_the_rest() -> None:
    rules = [
        {"names": ["read", "bpf"], "action": "SCMP_ACT_ALLOW"}, {"names": ["bpf"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}, {"names": ["kexec_load"], "action": "SCMP_ACT_ALLOW"},
    ]  # fmt: skip
    found = within({**SPEC, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}}})
    assert found["linux"]["seccomp"] == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}],
    }


def test_limits_stay_and_devices_do_not() -> None:
    rules = [
        {"allow": True, "type": "c", "major": 1, "minor": 3},
        {"allow": True, "type": "c", "major": 10, "minor": 229},
    ]
    asked = {"devices": rules, "memory": {"limit": 5}, "pids": {"limit": 0}}
    found = within({**SPEC, "linux": {"resources": asked}})["linux"]["resources"]
    assert found == {"devices": [{"allow": False, "access": "rwm"}, rules[0]], "memory": {"limit": 5}}
