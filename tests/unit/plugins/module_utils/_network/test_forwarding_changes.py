# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sysctls a network changes, in which order, and which of them are restored. Over a directory in the place of /proc/sys."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._network import forwarding, forwarding_changes
from ansible_collections.longshore.oci.plugins.module_utils._network.forwarding import IPV4, IPV6

pytestmark = pytest.mark.pure

ETH4, ETH6 = "net/ipv4/conf/eth0/forwarding", "net/ipv6/conf/eth0/forwarding"
ALL4, LO4 = "net/ipv4/conf/all/forwarding", "net/ipv4/conf/lo/forwarding"
REDIRECTS, RA = "net/ipv4/conf/all/accept_redirects", "net/ipv6/conf/eth0/accept_ra"
LOCALNET = "net/ipv4/conf/br0/route_localnet"
# A default route that a router has announced, and one of the administrator, as in /proc/net/ipv6_route.
LEARNED, STATIC = "00040003", "00000003"
ROUTE = "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 {flags} eth0\n"


class Host:
    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self.set({IPV4: "0", IPV6: "0", ALL4: "0", LO4: "0", ETH4: "0", ETH6: "0", REDIRECTS: "1", RA: "1"})

    def set(self, values: dict[str, str]) -> None:
        for path, value in values.items():
            (self._directory / path).parent.mkdir(parents=True, exist_ok=True)
            (self._directory / path).write_text(f"{value}\n", encoding="ascii")


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    for module in (forwarding, forwarding_changes):
        monkeypatch.setattr(module, "TOP", str(tmp_path))
    _announce(monkeypatch, STATIC)
    return Host(tmp_path)


def _announce(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    text = ROUTE.format(zero="0" * 32, flags=flags)
    monkeypatch.setattr(forwarding_changes, "read_text", lambda _path: text)


def test_nothing_differs(host: Host) -> None:
    host.set({IPV4: "1"})
    assert forwarding.differing({IPV4: "1"}) == {}
    assert forwarding_changes.to_change({IPV4: "1"}) == {}


def test_what_the_kernel_changes_too_is_remembered(host: Host) -> None:
    host.set({LO4: "1"})
    assert forwarding_changes.to_change({IPV4: "1"}) == {IPV4: ("0", "1"), LO4: ("1", ""), REDIRECTS: ("1", "")}
    assert forwarding_changes.to_change({LOCALNET: "1"}) == {LOCALNET: ("", "1")}


def test_a_default_route_of_a_router_is_kept(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel would remove it: accept_ra is written before forwarding."""
    assert list(forwarding_changes.to_change({IPV6: "1"}).items()) == [(IPV6, ("0", "1"))]
    _announce(monkeypatch, LEARNED)
    assert list(forwarding_changes.to_change({IPV6: "1"}).items()) == [(RA, ("1", "2")), (IPV6, ("0", "1"))]
    host.set({RA: "2"})
    assert list(forwarding_changes.to_change({IPV6: "1"}).items()) == [(IPV6, ("0", "1"))]


@pytest.mark.parametrize(
    ("now", "wanted", "others_forward", "restored"),
    [
        ({IPV4: "1"}, {}, False, {IPV4: "0", LO4: "1", REDIRECTS: "1"}),
        ({IPV4: "1"}, {IPV4: "1"}, False, {}),
        ({IPV4: "1"}, {}, True, {}),
        # Another program has set it since.
        ({IPV4: "2"}, {}, False, {}),
        ({IPV6: "1", RA: "2"}, {}, False, {IPV6: "0", RA: "1"}),
        ({IPV6: "1", RA: "0"}, {}, False, {IPV6: "0"}),
        ({LOCALNET: "1"}, {}, True, {LOCALNET: "0"}),
    ],
)
def test_what_is_restored(
    host: Host, now: dict[str, str], wanted: dict[str, str], others_forward: bool, restored: dict[str, str]
) -> None:
    changes: dict[str, tuple[str, str]] = {
        IPV4: ("0", "1"), LO4: ("1", ""), REDIRECTS: ("1", ""), IPV6: ("0", "1"), RA: ("1", "2"), LOCALNET: ("0", "1"),
    }  # fmt: skip
    host.set({IPV4: "9", IPV6: "9", **now})
    assert forwarding_changes.to_restore(changes, wanted, others_forward) == restored


def test_what_cannot_be_written_is_said(host: Host) -> None:
    forwarding.write_all({IPV4: "1", IPV6: "1"})
    paths: t.Iterable[str] = (IPV4, IPV6, "net/none")
    assert forwarding.read(paths) == {IPV4: "1", IPV6: "1"}
    with pytest.raises(LongshoreError, match=r"^Cannot set the sysctl net/none/x to 1: No such file or directory"):
        forwarding.write("net/none/x", "1")
