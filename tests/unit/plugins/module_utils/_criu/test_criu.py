# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._criu import criu
from ansible_collections.longshore.oci.plugins.module_utils._criu.criu import VERBS, Options
from ansible_collections.longshore.oci.plugins.module_utils._criu.criu_log import criu_error, criu_hint
from ansible_collections.longshore.oci.plugins.module_utils._criu.criu_support import NEVER, SUPPORT
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Program
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


def program(name: str, version: str) -> Program:
    return Program(name, f"/usr/bin/{name}", version)


def log(name: str) -> list[str]:
    return builders.transcript("criu", "4.1.1", f"{name}.log.txt").splitlines()


@pytest.mark.parametrize(
    ("verb", "options", "runtime", "error"),
    [
        ("checkpoint", {"link_remap": True}, ("runc", "1.1.15+ds1"), "link_remap needs runc 1.3 or newer; this container has runc 1.1.15+ds1."),
        ("checkpoint", {"link_remap": True}, ("crun", "1.28"), "link_remap needs runc 1.3 or newer; this container has crun 1.28."),
        ("checkpoint", {"link_remap": True}, ("runc", "1.3.0"), None),
        ("checkpoint", {"network_lock": "skip"}, ("crun", "1.18.2"), "network_lock needs crun 1.19 or newer; this container has crun 1.18.2."),
        ("checkpoint", {"network_lock": "skip"}, ("crun", "1.21"), None),
        (
            "checkpoint", {"manage_cgroups_mode": "ignore"}, ("runc", "1.1.15"),
            "manage_cgroups_mode: ignore needs crun 1.4.5 or newer or runc 1.2 or newer; this container has runc 1.1.15.",
        ),
        ("checkpoint", {"manage_cgroups_mode": "soft"}, ("runc", "1.1.15"), None),
        ("checkpoint", {"manage_cgroups_mode": "ignore"}, ("runc", "1.2.0"), None),
        ("restore", {"tcp_close": True}, ("crun", "1.22"), "tcp_close needs crun 1.23 or newer; this container has crun 1.22."),
        ("restore", {"tcp_close": True}, ("crun", "1.23"), None),
        ("restore", {"tcp_close": True}, ("runc", "1.5.0"), "tcp_close needs crun 1.23 or newer; this container has runc 1.5.0."),
        ("restore", {"lsm_profile": "selinux:x"}, ("runc", "1.0.3"), "lsm_profile needs crun 1.18 or newer or runc 1.1 or newer;"),
        ("restore", {"leave_running": True}, ("runc", "1.2"), "leave_running is not an option of a restore."),
        # Nobody knows what another runtime can do.
        ("restore", {"tcp_close": True}, ("youki", "0.5"), None),
        ("checkpoint", {"link_remap": False}, ("crun", "1.28"), None),
    ],
)  # fmt: skip
def test_an_option_is_refused_by_name_with_the_version_that_can(
    verb: str, options: dict[str, t.Any], runtime: tuple[str, str], error: str | None
) -> None:
    if error is None:
        criu.check_options(verb, Options(**options), program(*runtime))
        return
    with pytest.raises((InvalidOption, MissingPrerequisite)) as raised:
        criu.check_options(verb, Options(**options), program(*runtime))
    assert error in str(raised.value)


def test_options_become_words() -> None:
    options = Options(
        leave_running=True, tcp_established=True, network_lock="nftables", pre_dump=True, file_locks=False
    )
    # crun takes the value of network-lock only as a word of its own.
    assert criu.words("checkpoint", options) == ["--leave-running", "--tcp-established", "--network-lock", "nftables"]
    assert criu.words("restore", options) == ["--tcp-established", "--network-lock", "nftables"]


def test_what_a_dump_was_asked_for_holds_for_its_restore() -> None:
    dumped = Options(leave_running=True, tcp_established=True, shell_job=True, link_remap=True)
    assert dumped.at_restore(Options()) == Options(tcp_established=True, shell_job=True)
    assert dumped.at_restore(Options(shell_job=False, lsm_profile="x")) == Options(
        tcp_established=True, shell_job=False, lsm_profile="x"
    )
    assert dumped.at_restore(Options(tcp_close=True)) == Options(tcp_close=True, shell_job=True)


def test_every_option_has_a_verb() -> None:
    assert {name for verb in ("checkpoint", "restore") for name in VERBS[verb]} == set(Options._fields)
    for support in SUPPORT.values():
        for verb, table in (("checkpoint", support.checkpoint), ("restore", support.restore)):
            assert {name.partition(":")[0] for name in table} <= set(VERBS[verb])
            assert all(since == NEVER or since < (9,) for since in table.values())


def test_the_options_of_a_runtime() -> None:
    can = criu.options_of(program("runc", "1.1.15"))
    assert "tcp_established" in can["checkpoint"]
    assert {"link_remap", "network_lock", "manage_cgroups_mode: ignore"} & set(can["checkpoint"]) == set()
    assert "tcp_close" not in can["restore"]


def statistics(name: str) -> bytes:
    return bytes.fromhex(builders.transcript("criu", "4.1.1", f"{name}.hex"))


def test_statistics_of_a_dump() -> None:
    assert criu.parse_statistics(statistics("stats-dump")) == {
        "freezing_time": 100636, "frozen_time": 98774, "memdump_time": 4586, "memwrite_time": 174, "pages_scanned": 49,
        "pages_skipped_parent": 0, "pages_written": 33,
    }  # fmt: skip


def test_statistics_of_a_restore() -> None:
    assert criu.parse_statistics(statistics("stats-restore")) == {
        "pages_compared": 9, "pages_skipped_cow": 2, "forking_time": 284, "restore_time": 84505, "pages_restored": 31,
    }  # fmt: skip


@pytest.mark.parametrize("length", [0, 11, 13, 20, 30])
def test_statistics_that_are_cut_off(length: int) -> None:
    data = statistics("stats-dump")
    with pytest.raises(ValueError, match="statistics"):
        criu.parse_statistics(
            data[:length] if length < 12 else data[:8] + (length - 12).to_bytes(4, "little") + data[12:length]
        )


def test_statistics_of_nobody() -> None:
    with pytest.raises(ValueError, match="no statistics"):
        criu.parse_statistics(b"\0" * 64)


def test_the_reason_is_in_the_errors_that_only_a_failure_has() -> None:
    assert criu_error(log("dump-connected")) == "inet: Connected TCP socket, consider using --tcp-established option"
    assert criu_error(log("dump-good")) == ""
    assert criu_error(log("dump-no-iptables")).startswith(
        'execvp("iptables-restore", ...) failed: No such file or directory; '
    )
    assert "net: Locking network failed" in criu_error(log("dump-no-iptables"))
    assert criu_error(log("restore-no-cgroup")).startswith("cg: Can't move 1 into unified//machine.slice/")


def test_the_hint_names_the_option_that_criu_names() -> None:
    assert criu_hint(log("dump-connected")) == "Use the option tcp_established."
    assert "iptables" in criu_hint(log("dump-no-iptables"))
    assert "manage_cgroups_mode: ignore" in criu_hint(log("restore-no-cgroup"))
    assert criu_hint(log("dump-good")) == ""


def test_why_a_runtime_lacks_an_option() -> None:
    assert criu.lacks("checkpoint", "link_remap", program("runc", "1.3")) == ""
    said = "link_remap needs runc 1.3 or newer; this container has crun 1.21."
    assert criu.lacks("checkpoint", "link_remap", program("crun", "1.21")) == said
