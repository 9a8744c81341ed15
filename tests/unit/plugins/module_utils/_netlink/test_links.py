# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links, addresses and routes of the real kernel, in a network namespace of the test."""

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._netlink import netns
from ansible_collections.longshore.oci.plugins.module_utils._netlink.links import Link, Links, Route


@pytest.fixture
def there() -> t.Iterator[t.Callable[[t.Callable[[Links], None]], None]]:
    """Run a function in the namespace, with a session."""
    name = f"longshore-unit-links-{os.getpid()}"
    netns.create(name)

    def run(function: t.Callable[[Links], None]) -> None:
        def work() -> None:
            with Links() as links:
                function(links)

        netns.inside(name, work)

    yield run
    netns.remove(name)


def _bridge(links: Links) -> Link:
    made = links.create_bridge("br0", "02:00:00:00:00:01")
    links.change(made, state="up", mtu=1400)
    return links.all()["br0"]


def test_a_bridge(there: t.Any) -> None:
    def look(links: Links) -> None:
        before = set(links.all())
        found = _bridge(links)
        assert (found.name, found.kind, found.mac, found.mtu, found.up) == (
            "br0",
            "bridge",
            "02:00:00:00:00:01",
            1400,
            True,
        )
        with pytest.raises(LongshoreError, match=r"Cannot create the bridge br0: File exists\."):
            links.create_bridge("br0", "02:00:00:00:00:01")
        links.remove(found)
        assert set(links.all()) == before
        links.remove(found)  # It is gone already.

    there(look)


def test_addresses(there: t.Any) -> None:
    def look(links: Links) -> None:
        bridge = _bridge(links)
        for text in ("10.0.0.1/24", "fd00::1/64", "10.0.0.1/24"):
            links.add_address(bridge, text)
        assert links.all()["br0"].addresses == ("10.0.0.1/24", "fd00::1/64")
        assert links.all(lasting=True)["br0"].addresses == ("10.0.0.1/24", "fd00::1/64")
        for _twice in range(2):
            links.drop_address(bridge, "10.0.0.1/24")
        assert links.all()["br0"].addresses == ("fd00::1/64",)

    there(look)


def test_routes(there: t.Any) -> None:
    def look(links: Links) -> None:
        bridge = _bridge(links)
        for text in ("10.0.0.1/24", "fd00::1/64"):
            links.add_address(bridge, text)
        assert links.routes() == []  # Those of the kernel are not ours.
        wanted = [Route("0.0.0.0/0", "10.0.0.2", "br0"), Route("::/0", "fd00::2", "br0")]
        for route in wanted:
            links.add_route(route, bridge)
        assert links.routes() == wanted
        links.add_route(Route("0.0.0.0/0", "10.0.0.3", "br0"), bridge)  # In the place of the other.
        assert links.routes()[0].via == "10.0.0.3"
        for route in links.routes():
            links.drop_route(route)
            links.drop_route(route)
        assert links.routes() == []
        with pytest.raises(LongshoreError, match=r"Cannot set the route to 0\.0\.0\.0/0 via 192\.0\.2\.1"):
            links.add_route(Route("0.0.0.0/0", "192.0.2.1", "br0"), bridge)

    there(look)
