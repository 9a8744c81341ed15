# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks with the real kernel: what was changed by hand, and what is changed in place."""

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._netlink import links, netns
from ansible_collections.longshore.oci.plugins.module_utils._network import forwarding
from ansible_collections.longshore.oci.tests.unit.network_host import POOL, WEB, Host, asked, host, serving

__all__ = ["host"]  # the fixture


def test_what_was_changed_by_hand_is_mended(host: Host) -> None:
    wanted: dict[str, t.Any] = {"publish": ("8080:80",), "routes": (("10.9.0.0/16", "10.78.1.9"),)}
    host.converge(WEB, POOL, **wanted)
    like, seen = host.is_like(), host.of(WEB)
    end = next(name for name in like["links"] if name.startswith("ls-"))
    for action, words in (
        ("interface", f"ip -n {WEB} address delete 10.78.1.2/24 dev eth0"),
        ("interface", f"ip -n {WEB} link set eth0 address 02:00:00:00:00:09"),
        ("interface", f"ip -n {WEB} link set eth0 mtu 1400"),
        ("interface", f"ip -n {WEB} link set eth0 down"),
        ("interface", f"ip -n {WEB} link set lo down"),
        ("interface", f"ip link set {end} nomaster"),
        ("interface", f"ip link delete {end}"),
        ("route", f"ip -n {WEB} route delete 10.9.0.0/16"),
        ("route", f"ip -n {WEB} route replace default via 10.78.1.7 proto static"),
        ("bridge", "ip address delete 10.78.1.1/24 dev longshore0"),
        ("bridge", "ip link set longshore0 down"),
        ("bridge", "ip link delete longshore0"),
        ("forwarding", f"sh -c 'echo 0 > /proc/sys/{forwarding.IPV4}'"),
        ("rules", "nft delete table inet longshore-"),
        ("rules", "nft flush chain inet longshore- prerouting"),
        ("rules", "nft add rule inet longshore- prerouting tcp dport 1 drop"),
        ("rules", "nft 'add chain inet longshore- postrouting { policy drop; }'"),
        # The kernel removes its links a little later.
        ("namespace", f"ip netns delete {WEB}; for i in $(seq 400); do ip link show {end} || exit 0; sleep 0.05; done; exit 1"),
    ):  # fmt: skip
        table = like["rules"].split()[2]
        host.does("sh", "-c", words.replace("longshore-", table))
        predicted = host.converge(WEB, POOL, check=True, **wanted).plan
        assert host.describe(WEB).outcome.plan == predicted, words
        mended = host.converge(WEB, POOL, **wanted).plan
        assert mended == predicted, words
        assert action in mended.actions, words
        assert host.of(WEB) == seen, words
        assert host.is_like() == like, words
        assert host.converge(WEB, POOL, **wanted).plan.actions == (), words


def test_what_others_add_is_left_alone(host: Host) -> None:
    host.converge(WEB, POOL)
    for words in (
        f"ip -n {WEB} address add 10.78.1.200/32 dev eth0", f"ip -n {WEB} link add own type veth peer name own2",
        f"ip -n {WEB} route add 10.8.0.0/16 via 10.78.1.8", "ip address add 10.80.0.1/24 dev longshore0",
        "nft add table ip other",
    ):  # fmt: skip
        host.does("sh", "-c", words)
    assert host.converge(WEB, POOL).plan.actions == ()
    host.converge(WEB, POOL._replace(subnet=("10.79.1.0/24",)))
    seen = host.of(WEB)
    assert seen["addresses"]["eth0"] == ["10.78.1.200/32", "10.79.1.2/24"]
    assert "own" in seen["links"]
    assert "10.80.0.1/24" in host.does("ip", "-br", "address", "show", "longshore0")
    assert host.converge(WEB, absent=True).plan.actions == ("remove",)
    assert host.is_like()["rules"] == "table ip other {\n}\n"


@pytest.mark.parametrize(
    ("change", "actions"),
    [
        ({"subnet": ("10.78.1.0/24",)}, {"record", "bridge", "interface", "route", "rules"}),
        ({"address": ("10.78.1.99", "fd00:78:1::9")}, {"record", "interface", "rules"}),
        ({"gateway": ("10.78.1.254", "fd00:78:1::1")}, {"record", "bridge", "route"}),
        ({"mac": "02:00:00:00:00:07"}, {"record", "interface"}),
        ({"mtu": 9000}, {"record", "interface"}),
        ({"bridge": "lsu-br1"}, {"record", "bridge", "interface", "rules", "forwarding"}),
        ({"name": "net1"}, {"record", "interface", "route"}),
    ],
)  # fmt: skip
def test_a_change_is_made_in_place_and_back(host: Host, change: dict[str, t.Any], actions: set[str]) -> None:
    """Whatever uses the namespace goes on in it."""
    publish = ("8080:80",)
    host.converge(WEB, POOL, publish=publish)
    like, seen, where = host.is_like(), host.of(WEB), os.stat(netns.path_of(WEB)).st_ino
    changed = POOL._replace(**change)
    plan = host.converge(WEB, changed, check=True, publish=publish).plan
    made = host.converge(WEB, changed, publish=publish)
    assert made.record is not None
    assert made.plan == plan
    assert {action.value for action in plan.actions} - {"route"} == actions - {"route"}
    assert host.converge(WEB, changed, publish=publish).plan.actions == ()
    assert host.of(WEB) != seen
    assert os.stat(netns.path_of(WEB)).st_ino == where
    with serving(WEB):
        assert asked(host.name, "tcp", "127.0.0.1", 8080) == made.record.interfaces[0].host_gateways[0]
    host.converge(WEB, POOL._replace(address=("10.78.1.2", "fd00:78:1::2")), publish=publish)
    host.converge(WEB, POOL, publish=publish)
    assert host.of(WEB) == seen
    assert host.is_like() == like


def test_a_link_that_others_remove_meanwhile_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    create = links.Links.create_bridge

    def create_and_lose(session: links.Links, name: str, mac: str) -> links.Link:
        link = create(session, name, mac)
        session.remove(link)
        return link

    with monkeypatch.context() as context:
        context.setattr(links.Links, "create_bridge", create_and_lose)
        with pytest.raises(LongshoreError, match=r"The interface longshore0 has gone\. Run the task again\."):
            host.converge(WEB, POOL)
    host.converge(WEB, POOL)
    assert host.converge(WEB, POOL).plan.actions == ()
