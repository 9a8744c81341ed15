# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._module import network
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import (
    DEFAULT_BRIDGE,
    Interface,
    Request,
)

pytestmark = pytest.mark.pure


def _request(**given: t.Any) -> Request:
    """Of what Ansible makes of a task's arguments."""
    defaults = {name: spec.get("default") for name, spec in network.ARGUMENTS.items()}
    return network.request({**defaults, "name": "web", **given})


def _entry(**given: t.Any) -> dict[str, t.Any]:
    return {**dict.fromkeys(("name", "bridge", "subnet", "address", "gateway", "mac", "mtu")), **given}


def test_without_an_interface() -> None:
    assert _request() == Request("web")


def test_one_interface_by_options_of_its_own() -> None:
    found = _request(subnet=["10.0.0.0/24", "fd00::/64"], bridge="br0", mtu=1400)
    assert found.interfaces == (Interface("eth0", "br0", subnet=("10.0.0.0/24", "fd00::/64"), mtu=1400),)


def test_several_are_counted() -> None:
    found = _request(interfaces=[_entry(subnet=["10.0.0.0/24"]), _entry(name="up", mac="x"), _entry()])
    assert [(each.name, each.bridge) for each in found.interfaces] == [
        ("eth0", DEFAULT_BRIDGE), ("up", DEFAULT_BRIDGE), ("eth2", DEFAULT_BRIDGE),
    ]  # fmt: skip
    assert _request(interfaces=[]).interfaces == ()


def test_the_other_options() -> None:
    found = _request(
        subnet=["10.0.0.0/24"], routes=[{"to": "10.1.0.0/16", "via": "10.0.0.2"}], publish=["80:80"], masquerade=False,
        isolate=False, routed=True,
    )  # fmt: skip
    assert (found.routes, found.publish) == ((("10.1.0.0/16", "10.0.0.2"),), ("80:80",))
    assert (found.masquerade, found.isolate, found.routed) == (False, False, True)


def test_to_publish_takes_an_interface() -> None:
    with pytest.raises(InvalidOption, match="publish needs an interface") as refused:
        _request(publish=["80:80"])
    assert "subnet" in refused.value.hint
    assert _request(state="absent", publish=["80:80"]).absent


def test_options_of_one_interface_do_not_go_with_several() -> None:
    pairs = {name for pair in network.RULES["mutually_exclusive"] for name in pair} - {"interfaces"}
    assert pairs == set(Interface._fields) - {"name"}
