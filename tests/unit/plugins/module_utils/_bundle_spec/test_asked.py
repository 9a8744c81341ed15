# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What identifies the wish of a task, whatever the host."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.accounts import User
from ansible_collections.longshore.oci.plugins.module_utils._base.capabilities import CAPABILITIES
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import asked
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.image_document import ImageConfig
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec.options import Facts, Options

pytestmark = pytest.mark.pure

PROFILE, OTHER = {"defaultAction": "SCMP_ACT_ALLOW"}, {"defaultAction": "SCMP_ACT_ERRNO"}
FACTS = Facts("amd64", CAPABILITIES, cgroup2=True, uid=0, gid=0, seccomp=PROFILE, resolv_conf="/etc/resolv.conf")
IMAGE = ImageConfig()
OPTIONS = Options(argv=("/x",), network="host", capabilities_add=("all",))


def digest(options: Options = OPTIONS, image: ImageConfig = IMAGE, path: str = "/srv/web", **facts: t.Any) -> str:
    return asked.digest(image, options, FACTS._replace(**facts), User(), path)


@pytest.mark.parametrize(
    "facts",
    [
        {"capabilities": CAPABILITIES[:30]}, {"cgroup2": False}, {"resolv_conf": None}, {"resolv_conf": "/run/resolv.conf"}, {"pids": False},
        {"swap": False}, {"recursive": False}, {"apparmor": "containers-default-1"}, {"seccomp": OTHER}, {"most": {"RLIMIT_CORE": 0}},
        {"devices": (({"path": "/dev/x", "type": "c", "major": 1, "minor": 3}, "rwm"),)},
    ],
)  # fmt: skip
def test_a_fact_of_the_host_is_nothing_asked_for(facts: dict[str, t.Any]) -> None:
    assert digest(**facts) == digest()


@pytest.mark.parametrize("path", ["/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json"])
def test_the_profile_of_the_distribution_has_several_names(path: str) -> None:
    assert digest(OPTIONS._replace(seccomp=path)) == digest(seccomp=OTHER)


@pytest.mark.parametrize(
    "options",
    [
        {"argv": ("/y",)}, {"devices": ("/dev/x",)}, {"devices": ("/dev/y:/dev/x",)}, {"seccomp": "/srv/own.json"}, {"network": "none"},
        {"capabilities_add": ()}, {"capabilities_drop": ("CHOWN",)}, {"pids_limit": 1}, {"apparmor_profile": "own"}, {"ulimits": ("core=0",)},
        {"spec": {"linux": {"seccomp": None}}}, {"memory": "64m", "memory_swap": "-1"}, {"mounts": ("/data:/data:ro",)}, {"tty": True},
    ],
)  # fmt: skip
def test_every_option_is_asked_for(options: dict[str, t.Any]) -> None:
    assert digest(OPTIONS._replace(**options)) != digest()


def test_other_things_that_are_asked_for() -> None:
    own, joined = OPTIONS._replace(seccomp="/srv/own.json"), OPTIONS._replace(network="path:/n")
    found = [
        digest(), digest(image=ImageConfig(env=(("A", "1"),))), digest(path="/srv/other"), digest(seccomp=None), digest(own),
        digest(own, seccomp=OTHER), digest(env_files=(("/f", "A=2\n"),)), digest(uid=1000, gid=1000, options=Options(argv=("/x",))),
        digest(joined, namespaces={"network": "/n"}), digest(joined, namespaces={"network": "/m"}),
    ]  # fmt: skip
    same = [number for number, each in enumerate(found) if found.index(each) != number]
    assert same == []


@pytest.mark.parametrize(
    "spellings",
    [
        ({"devices": ("/dev/x",)}, {"devices": ("/dev/x:rwm",)}, {"devices": ("/dev/x:/dev/x",)}, {"devices": ("//dev/x:mwr",)},
         {"devices": ("/dev/x", "/dev/x")}),
        ({"devices": ("/dev/x:rw",)}, {"devices": ("/dev/x:wr",)}, {"devices": ("/dev/x:/dev/../dev/x:wr",)}),
        ({"devices": ("/dev/x", "/dev/y:r")}, {"devices": ("/dev/y:r", "/dev/x")}),
        ({"devices": ("/dev/dri/",)}, {"devices": ("/dev/dri",)}, {"devices": ("/dev/dri/:/dev/dri/:rwm",)}),
        ({"mounts": ("/a:/a", "/b:/b")}, {"mounts": ("/b:/b:rw", "/a/:/a")}),
        ({"tmpfs": ("/a", "/b:ro,size=1m")}, {"tmpfs": ("/b:size=1m,ro", "/a")}),
        ({"stop_signal": "TERM"}, {"stop_signal": "SIGTERM"}),
        ({"cpuset_cpus": "0,1"}, {"cpuset_cpus": "0-1"}),
    ],
)  # fmt: skip
def test_spellings_of_the_same_are_asked_for_once(spellings: tuple[dict[str, t.Any], ...]) -> None:
    assert len({digest(OPTIONS._replace(**options)) for options in spellings}) == 1


def test_other_devices_are_others() -> None:
    given = [("/dev/x",), ("/dev/x:r",), ("/dev/x:/dev/y",), ("/dev/y:/dev/x",), ("/dev/x", "/dev/y"), ("/dev/a/../x",)]
    assert len({digest(OPTIONS._replace(devices=devices)) for devices in given}) == len(given)
