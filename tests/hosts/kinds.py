# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) Longshore contributors

"""The kinds of test hosts: which Debian suite a host runs and what is installed on it."""

from __future__ import annotations

import dataclasses

# These make a minimal Debian a host that is reachable over ssh and has users with a session.
_SYSTEM = (
    "systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "openssh-server",
    "sudo", "acl", "procps", "iproute2", "nftables", "kmod", "ca-certificates",
    "python3", "python3-psutil", "python3-pyroute2", "python3-systemd",
)  # fmt: skip

# These run containers and get images. skopeo's dependencies ask for any container-network-stack, and
# debootstrap cannot choose: hence netavark.
_ENGINE = (
    "conmon", "runc", "crun", "criu", "uidmap", "slirp4netns", "passt",
    "busybox-static", "skopeo", "netavark", "umoci", "docker-registry",
)  # fmt: skip

# crun loads libcriu.so.2 at run time and no dependency says so. bookworm has neither such a crun nor the library.
_CRUN_CHECKPOINT = ("libcriu2",)

# For the tests of checkpoints: CRIU holds up the network of a container with iptables; podman makes checkpoints that we
# restore, and checkpointctl reads ours.
_CHECKPOINT_TESTS = ("iptables", "zstd", "podman", "checkpointctl")


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of host: a Debian suite with the versions it ships."""

    name: str
    suite: str
    summary: str
    packages: tuple[str, ...] = _SYSTEM + _ENGINE + _CRUN_CHECKPOINT


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="trixie",
            suite="trixie",
            summary="Debian 13: what most tests run on",
            packages=_SYSTEM + _ENGINE + _CRUN_CHECKPOINT + _CHECKPOINT_TESTS,
        ),
        Kind(
            name="bookworm",
            suite="bookworm",
            summary="Debian 12: the oldest versions we support",
            packages=_SYSTEM + _ENGINE,
        ),
        Kind(
            name="sid",
            suite="sid",
            summary="Debian unstable: the newest versions there are",
            packages=_SYSTEM + _ENGINE + _CRUN_CHECKPOINT + _CHECKPOINT_TESTS,
        ),
        Kind(name="forky", suite="forky", summary="Debian testing"),
    )
}

DEFAULT_KIND = "trixie"

__all__ = ("DEFAULT_KIND", "KINDS", "Kind")
