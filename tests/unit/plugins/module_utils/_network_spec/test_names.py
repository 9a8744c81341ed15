# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and addresses that are the same in each task, and never those of another installation."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._network_spec import names

pytestmark = pytest.mark.pure

STATE, OTHER = names.DEFAULT_STATE_DIR, "/home/app/longshore"


def test_the_kernel_takes_them() -> None:
    """At most 15 bytes for an interface, and 255 for its alias."""
    found = names.host_interface(OTHER, "n" * 200, "eth0")
    assert found.startswith("ls-")
    assert len(found) == 15
    assert len(names.alias("n" * 200, "i" * 15)) < 255


@pytest.mark.parametrize(
    ("link", "alias", "interface"),
    [
        (names.host_interface(STATE, "web", "eth0"), "longshore web eth0", "eth0"),
        (names.host_interface(STATE, "web", "eth0"), None, None),
        (names.host_interface(STATE, "web", "eth0"), "longshore web eth1", None),
        (names.host_interface(STATE, "web", "eth0"), "longshore other eth0", None),
        (names.host_interface(OTHER, "web", "eth0"), "longshore web eth0", None),
        ("eth0", "longshore web eth0", None),
    ],
)
def test_a_link_is_known_by_name_and_alias(link: str, alias: str | None, interface: str | None) -> None:
    assert names.is_of(STATE, "web", link, alias) == interface


def test_the_default_installation_has_the_plain_table() -> None:
    assert names.table(STATE) == "longshore"
    assert names.table(OTHER).startswith("longshore-")
    assert names.table(OTHER) != names.table("/other")


def test_hardware_addresses_are_local_and_of_one_interface() -> None:
    found = [
        names.bridge_mac(STATE, "br0"), names.bridge_mac(OTHER, "br0"), names.bridge_mac(STATE, "br1"), names.mac("a", "b"),
        names.mac("ab", ""), names.host_mac(STATE, "web", "eth0"), names.host_mac(STATE, "web", "eth1"),
    ]  # fmt: skip
    assert len(set(found)) == len(found)
    # Bit 1: local. Bit 0: not of a group. A bridge takes the lowest of its ports, and that is none of these.
    assert {int(each[:2], 16) & 3 for each in found} == {2}
    assert {each[:2] for each in found[-2:]} == {"fe"}
