# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where published ports lead to, and which cannot be published."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict, InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import publishing
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.record import InterfaceRecord, NetworkRecord

pytestmark = pytest.mark.pure

BRIDGE = InterfaceRecord(
    "eth0", "longshore0", False, ("10.78.1.2/24", "fd00::2/64"), ("10.78.1.1", "fd00::1"), ("10.78.1.1",), "02:00:00:00:00:01", 1500
)  # fmt: skip
FOREIGN = BRIDGE._replace(name="eth1", bridge="br0", foreign=True)
WITHOUT = BRIDGE._replace(host_gateways=())


def _network(name: str, *publish: str, interface: InterfaceRecord = BRIDGE) -> NetworkRecord:
    return NetworkRecord(name, (interface,), publish=tuple(map(publishing.publish, publish)))


def test_only_an_address_behind_this_host_is_led_to() -> None:
    assert list(publishing.forwarded(_network("web"))) == [(BRIDGE, "10.78.1.2/24")]
    assert publishing.targets(_network("web")) == {4: (BRIDGE, "10.78.1.2/24")}
    assert publishing.targets(_network("web", interface=WITHOUT)) == {}
    both = BRIDGE._replace(host_gateways=("10.78.1.1", "fd00::1"))
    assert publishing.targets(_network("web", interface=both)).keys() == {4, 6}


@pytest.mark.parametrize("text", ["[::1]:8080:80", "8000-9100:10000-11100"])
def test_what_linux_cannot_forward(text: str) -> None:
    with pytest.raises(InvalidOption, match="publish"):
        publishing.publish(text)


def test_a_long_range_of_the_same_ports_is_one_rule() -> None:
    assert publishing.publish("8000-9100:8000-9100").last == 9100


@pytest.mark.parametrize(
    ("publish", "interface"), [("8080:80", WITHOUT), ("[fd00::1]:8080:80", BRIDGE), ("127.0.0.1:8080:80", FOREIGN)]
)
def test_a_port_that_leads_nowhere(publish: str, interface: InterfaceRecord) -> None:
    with pytest.raises(InvalidOption, match="cannot be published"):
        publishing.check_ports(_network("web", publish, interface=interface), {})


@pytest.mark.parametrize(
    ("publish", "others", "whose"),
    [
        (("8080:80", "8081:80", "8080:80/udp"), {"other": ("8082:80",)}, None),
        (("127.0.0.1:8080:80", "127.0.0.2:8080:80"), {}, None),
        (("8080:80", "8080:81"), {}, "the same network"),
        (("8080:80", "127.0.0.1:8080:80"), {}, "the same network"),
        (("8080:80",), {"other": ("8079-8081:79-81",)}, "the network other"),
    ],
)
def test_two_for_one_port(publish: tuple[str, ...], others: dict[str, tuple[str, ...]], whose: str | None) -> None:
    known = {name: _network(name, *ports) for name, ports in others.items()}
    if whose is None:
        publishing.check_ports(_network("web", *publish), known)
    else:
        with pytest.raises(Conflict, match=f"overlaps .*, published by {whose}"):
            publishing.check_ports(_network("web", *publish), known)
