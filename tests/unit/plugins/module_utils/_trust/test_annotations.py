# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Annotations that an image or an archive brings."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._trust.annotations import from_outside

pytestmark = pytest.mark.pure

GOOD = {
    "org.opencontainers.image.title": "web",
    "org.opencontainers.image.created": "2026-01-01T00:00:00Z",
    "org.opencontainers.image.description": "two\nlines \u00fc",
    "org.opencontainers.image.stopSignal": "SIGRTMIN+3",
}


def test_harmless_ones_pass() -> None:
    assert from_outside(GOOD) == GOOD


@pytest.mark.parametrize(
    "key",
    [
        # What runc, crun, krun, wasm handlers, systemd, CRIU, Kata, podman and Kubernetes act upon.
        "run.oci.seccomp_bpf_data", "run.oci.hooks.stdout", "run.oci.keep_original_groups", "run.oci.handler",
        "run.oci.seccomp.receiver", "run.oci.pidfd_receiver", "run.oci.systemd.subgroup", "run.oci.delegate-cgroup",
        "org.systemd.property.Wants", "org.systemd.property.ExecStopPost", "org.criu.config", "module.wasm.image/variant",
        "krun.variant", "krun.cpus", "io.kubernetes.cri.container-type", "io.kubernetes.cri-o.UnifiedCgroup",
        "io.katacontainers.config.hypervisor.path", "io.podman.annotations.autoremove", "io.container.manager",
        "com.github.containers.toolbox", "bundle", "maintainer", "org.example.label",
        # Names that look as if they were harmless.
        "org.opencontainers", "org.opencontainers.", "org.opencontainersX.a", "ORG.opencontainers.image.title",
        " org.opencontainers.image.title", "org.opencontainers.a\nrun.oci.handler", "org.opencontainers.a\0b",
        "org.opencontainers.image.title\n", "org.opencontainers.a=b", "org.opencontainers.\u0430", "org.opencontainers.a/b",
        f"org.opencontainers.{'a' * 300}", "", 5, None, ("org.opencontainers.a",),
    ],
)  # fmt: skip
def test_others_do_not(key: t.Any) -> None:
    assert from_outside({key: "x", **GOOD}) == GOOD


@pytest.mark.parametrize("value", [5, None, True, [], {}, "a\0b", "\ud800", "x" * 65537, "\u20ac" * 65536])
def test_values_are_text(value: t.Any) -> None:
    assert from_outside({"org.opencontainers.image.title": value}) == {}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "SIGFOO",
        "0",
        "-9",
        "65",
        "999999",
        "9" * 5000,
        "TERM KILL",
        "TERM\n",
        "\u0661",
        "RTMIN+99",
        "x" * 17,
        "RTMAX-31",
        "RTMIN-1",
        " TERM",
    ],
)
def test_a_stop_signal_is_one(value: str) -> None:
    assert from_outside({"org.opencontainers.image.stopSignal": value}) == {}


@pytest.mark.parametrize("value", ["SIGRTMAX-1", "RTMIN+3", "37", "2", "kill", "SIGWINCH"])
def test_all_forms_of_a_stop_signal(value: str) -> None:
    assert from_outside({"org.opencontainers.image.stopSignal": value}) == {
        "org.opencontainers.image.stopSignal": value
    }


@pytest.mark.parametrize("labels", [None, [], "run.oci.handler", 5, True, ["org.opencontainers.image.title"]])
def test_anything_else_has_none(labels: t.Any) -> None:
    assert from_outside(labels) == {}
