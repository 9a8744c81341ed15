# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a network is there, and what of it is somebody else's."""

from __future__ import annotations

import os

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict
from ansible_collections.longshore.oci.plugins.module_utils._netlink.links import Link
from ansible_collections.longshore.oci.plugins.module_utils._network import observe
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.differences import Observed
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.record import InterfaceRecord, NetworkRecord

pytestmark = pytest.mark.pure

ETH0 = InterfaceRecord("eth0", "br0", False, ("10.78.1.2/24",), ("10.78.1.1",), (), "02:00:00:00:00:01", 1500)
OURS = Link(1, "br0", "bridge", mtu=1500, addresses=("10.78.1.1/24",))
OTHER = Link(2, "docker0", "bridge", mtu=1400, addresses=("172.17.0.1/16",))
ETHERNET = Link(3, "ens3", "", addresses=("192.0.2.7/24",))
LOOPBACK = Link(4, "lo", addresses=("10.99.0.1/32",))
INSIDE, END = Link(9, "eth0", "veth", peer=8), Link(8, "ls-1", "veth", peer=9)


def _seen(inside: Link | None, end: Link | None) -> Observed:
    host = {link.name: link for link in (OURS, OTHER, ETHERNET, LOOPBACK)}
    return Observed(
        True, host, ["br0"], {"eth0": end} if end else {}, {"eth0": inside} if inside else {}, []
    )  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "end", "stranger"),
    [
        (None, None, False), (INSIDE, END, False), (None, END, False), (INSIDE, None, True),
        (INSIDE._replace(peer=7), END, True), (INSIDE._replace(kind="macvlan"), END, True),
    ],
)  # fmt: skip
def test_an_interface_of_somebody_else(inside: Link | None, end: Link | None, stranger: bool) -> None:
    wanted, seen = NetworkRecord("web", (ETH0,)), _seen(inside, end)
    if not stranger:
        observe.refuse_strangers(wanted, seen)
        return
    with pytest.raises(Conflict, match="has an interface eth0 that Longshore has not created") as caught:
        observe.refuse_strangers(wanted, seen)
    assert "ip -n web link delete eth0" in caught.value.hint
    # With a name that the network does not use it is nothing to us.
    observe.refuse_strangers(NetworkRecord("web", (ETH0._replace(name="eth1"),)), seen)


@pytest.mark.parametrize("text", ["4711\n", None])
def test_what_addresses_are_chosen_by(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "read_text", lambda path: text if path == "/etc/machine-id" else "?")
    others = {"db": NetworkRecord("db")}
    found = observe.surroundings(_seen(None, None), others)
    # Subnets of our own bridges are in the records, and the loopback link has no neighbours.
    assert found[:3] == (others, {"docker0": ("172.17.0.1/16",), "ens3": ("192.0.2.7/24",)}, {"docker0": 1400})
    assert found[3] == (text.strip() if text else os.uname().nodename)
