# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines that close the loopback of the host. That they do is tested with the helpers (test_network_helper.py)."""

from __future__ import annotations

import os

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import MissingPrerequisite
from ansible_collections.longshore.oci.plugins.module_utils._ports import host_loopback

pytestmark = pytest.mark.pure


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_loopback, "find_program", lambda name: f"/x/{name}")


@pytest.mark.parametrize("missing", ["nsenter", "ip"])
def test_a_program_that_is_missing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host_loopback.check("pasta")
    monkeypatch.setattr(host_loopback, "find_program", lambda name: None if name == missing else f"/x/{name}")
    with pytest.raises(MissingPrerequisite, match=f"pasta needs {missing}, which is not on this host"):
        host_loopback.check("pasta")


@pytest.mark.parametrize(
    ("uid", "enter"), [(0, "/x/nsenter --net"), (1000, "/x/nsenter --preserve-credentials --user --net")]
)
@pytest.mark.parametrize("ipv6", [False, True])
def test_the_script(uid: int, enter: str, ipv6: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os.path, "exists", lambda path: ipv6 and path == "/proc/net/if_inet6")
    text = host_loopback.script("LATER")
    assert text.startswith(f'{enter} --target="$pid" /x/ip -o link show | ')
    assert (
        f'{enter} --target="$pid" /x/ip -4 route append local 127.0.0.0/8 table local metric 1 dev "$device" || exit'
        in text
    )
    assert text.endswith(
        f'; done && {enter} --target="$pid" /x/ip -6 rule add to ::1/128 blackhole' if ipv6 else "; done"
    )
    assert "LATER" not in text
