# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sysctls of links."""

from __future__ import annotations

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._netlink.links import Link
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import sysctls

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("name", "ipv6", "disabled"), [("br0", None, None), ("br0", True, "0"), ("br0", False, "1"), ("lo", True, None)]
)
def test_a_link_takes_nothing_from_its_neighbours(name: str, ipv6: bool | None, disabled: str | None) -> None:
    found = sysctls.closed(name, ipv6)
    assert found.pop(f"net/ipv6/conf/{name}/disable_ipv6", None) == disabled
    assert set(found.values()) == {"0"}
    where = "all" if name == "lo" else name
    assert f"net/ipv4/conf/{where}/accept_redirects" in found
    assert (f"net/ipv6/conf/{where}/accept_ra" in found) == (name != "lo")


def test_only_what_is_there_can_differ() -> None:
    """A kernel without IPv6 has no sysctls of it."""
    proxy, ra = "net/ipv4/conf/br0/proxy_arp", "net/ipv6/conf/br0/accept_ra"
    assert sysctls.differing(Link(1, "br0")) == {}
    assert sysctls.differing(Link(1, "br0", settings={proxy: "0", ra: "2"})) == {ra: ("2", "0")}
    assert sysctls.differing(Link(1, "br0", settings={proxy: "1", ra: "0"})) == {proxy: ("1", "0")}
