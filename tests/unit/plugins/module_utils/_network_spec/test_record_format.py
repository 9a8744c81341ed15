# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of networks as JSON, and what is none."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._netlink.links import Route
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import record_format
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.publishing import publish
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.record import InterfaceRecord, NetworkRecord

pytestmark = pytest.mark.pure

INTERFACE = InterfaceRecord(
    "eth0", "br0", False, ("10.78.1.2/24",), ("10.78.1.1",), ("10.78.1.1",), "02:00:00:00:00:01", 1500
)
RECORD = NetworkRecord(
    "web", (INTERFACE,), (Route("10.1.0.0/16", "10.78.1.1", "eth0"),), (publish("127.0.0.1:8080:80"), publish("53:53/udp"))
)  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [NetworkRecord("web"), RECORD, RECORD._replace(isolate=False, routed=True, removing=True, masquerade=False)],
)
def test_what_is_written_is_read(record: NetworkRecord) -> None:
    assert record_format.from_json(json.loads(json.dumps(record_format.to_json(record)))) == record


def test_what_an_older_release_does_not_know_is_written_only_where_it_is_set() -> None:
    assert record_format.to_json(RECORD).keys() == {"format", "name", "interfaces", "routes", "publish", "masquerade"}
    assert {"isolate", "removing"} <= record_format.to_json(RECORD._replace(isolate=False, removing=True)).keys()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), 1), (("name",), None), (("masquerade",), 1), (("removing",), "yes"), (("interfaces",), {}),
        (("interfaces", 0), []), (("interfaces", 0, "addresses"), "10.78.1.2/24"), (("interfaces", 0, "addresses", 0), "10.78.1.256/24"),
        (("interfaces", 0, "gateways", 0), "host"), (("interfaces", 0, "mtu"), True), (("routes", 0, "to"), "10.1.0.1/16"),
        (("publish", 0, "port"), "80"), (("publish", 0, "ip"), "any"),
    ],
)  # fmt: skip
def test_what_is_damaged(path: tuple[t.Any, ...], value: t.Any) -> None:
    found: t.Any = json.loads(json.dumps(record_format.to_json(RECORD)))
    inner = found
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises((KeyError, TypeError, ValueError)):
        record_format.from_json(found)


@pytest.mark.parametrize("value", [None, [], {}, {"name": "web", "interfaces": [{"name": "eth0"}]}])
def test_what_is_no_record(value: t.Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        record_format.from_json(value)
