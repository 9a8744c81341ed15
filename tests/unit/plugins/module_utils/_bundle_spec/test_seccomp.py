# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._bundle_spec import seccomp

pytestmark = pytest.mark.pure


def _rule(name: str, **more: t.Any) -> dict[str, t.Any]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", **more}


def _names(profile: dict[str, t.Any], capabilities: t.Collection[str] = (), architecture: str = "amd64") -> list[str]:
    resolved = seccomp.resolve(profile, capabilities, architecture)
    return [name for rule in resolved["syscalls"] for name in rule["names"]]


def _profile(*rules: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **more}


def test_a_profile_of_a_config_stays_as_it_is() -> None:
    profile = _profile(
        _rule("read", args=[{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}], errnoRet=1), architectures=["SCMP_ARCH_X86_64"],
        defaultErrnoRet=38, flags=["SECCOMP_FILTER_FLAG_LOG"],
    )  # fmt: skip
    assert seccomp.resolve(profile, (), "amd64") == profile


def test_what_only_podman_knows_is_left_out() -> None:
    profile = _profile(_rule("read", comment="x", includes={}, excludes={}), defaultErrno="ENOSYS")
    assert seccomp.resolve(profile, (), "amd64") == _profile(_rule("read"))


@pytest.mark.parametrize(
    ("capabilities", "found"),
    [((), ["c"]), (("CAP_A",), ["c"]), (("CAP_A", "CAP_B"), ["ab", "c"]), (("CAP_C",), []), (("CAP_C", "CAP_D"), [])],
)
def test_all_that_are_included_but_any_that_is_excluded(capabilities: tuple[str, ...], found: list[str]) -> None:
    profile = _profile(
        _rule("ab", includes={"caps": ["CAP_A", "CAP_B"]}), _rule("c", excludes={"caps": ["CAP_C", "CAP_D"]})
    )
    assert _names(profile, capabilities) == found


@pytest.mark.parametrize(
    ("architecture", "found"), [("amd64", ["one", "not-arm"]), ("arm64", ["arm"]), ("386", ["x86", "not-arm"])]
)
def test_architectures(architecture: str, found: list[str]) -> None:
    profile = _profile(
        _rule("one", includes={"arches": ["amd64"]}), _rule("arm", includes={"arches": ["arm64"]}),
        _rule("x86", includes={"arches": ["x86"]}), _rule("not-arm", excludes={"arches": ["arm64"]}),
    )  # fmt: skip
    assert _names(profile, (), architecture) == found


def test_the_map_of_architectures() -> None:
    table = [
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        {"architecture": "SCMP_ARCH_S390X"},
    ]
    found = {
        name: seccomp.resolve(_profile(archMap=table), (), name).get("architectures")
        for name in ("amd64", "arm64", "s390x", "riscv64")
    }
    assert found == {
        "amd64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "arm64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "s390x": ["SCMP_ARCH_S390X"], "riscv64": None,
    }  # fmt: skip


def test_a_rule_of_an_old_profile_has_one_name() -> None:
    assert _names(_profile({"name": "read", "action": "SCMP_ACT_ALLOW"})) == ["read"]


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({}, "no defaultAction"), ({"defaultAction": 1}, "no defaultAction"), (_profile() | {"syscalls": {"names": []}}, "syscalls are not a list"),
        (_profile({"names": [], "action": "x"}), "no names or no action"), (_profile({"names": ["read"]}), "no names or no action"),
    ],
)  # fmt: skip
def test_what_is_no_profile(profile: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        seccomp.resolve(profile, (), "amd64")
