# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of networks on disk: written, read, those of older releases, and damaged ones. No network is made."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._base.process import boot_id
from ansible_collections.longshore.oci.plugins.module_utils._network.networks import Networks
from ansible_collections.longshore.oci.plugins.module_utils._network.records import Changed, Records
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.differences import bridge_addresses
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import (
    Interface,
    Request,
    Surroundings,
    resolve,
)
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.record import NetworkRecord

pytestmark = pytest.mark.pure

POOL = Interface(subnet=("10.78.1.0/24", "fd00:78:1::/64"))
REQUEST = Request("web", interfaces=(POOL,), routes=(("10.9.0.0/16", "10.78.1.9"),), publish=("[::]:1-3:1-3", "80:80"))
RECORD = resolve(REQUEST, Surroundings(machine="m"), None)
# As the first release wrote it.
SAVED: dict[str, t.Any] = {
    "format": 1,
    "name": "web",
    "interfaces": [
        {
            "name": "eth0", "bridge": "longshore0", "foreign": False, "addresses": ["10.78.1.2/24", "fd00:78:1::2/64"],
            "gateways": ["10.78.1.1", "fd00:78:1::1"], "host_gateways": ["10.78.1.1", "fd00:78:1::1"],
            "mac": RECORD.interfaces[0].mac, "mtu": 1500,
        }
    ],
    "routes": [
        {"to": "0.0.0.0/0", "via": "10.78.1.1", "interface": "eth0"},
        {"to": "10.9.0.0/16", "via": "10.78.1.9", "interface": "eth0"},
        {"to": "::/0", "via": "fd00:78:1::1", "interface": "eth0"},
    ],
    "publish": [
        {"ip": "::", "port": 1, "last": 3, "target": 1, "protocol": "tcp"},
        {"ip": None, "port": 80, "last": 80, "target": 80, "protocol": "tcp"},
    ],
    "masquerade": True,
    "isolate": True,
    "routed": False,
}  # fmt: skip


@pytest.fixture
def records(tmp_path: pathlib.Path) -> Records:
    return Records(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    found = tmp_path / "state" / "networks" / "web.json"
    found.parent.mkdir(parents=True)
    return found


def test_the_format_on_disk(records: Records, path: pathlib.Path) -> None:
    records.save(RECORD)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == SAVED
    assert list(json.loads(text)) == list(SAVED)
    assert records.all() == {"web": (RECORD,)}
    former = RECORD._replace(publish=(), removing=True)
    records.save(RECORD._replace(removing=True), [former, RECORD])
    assert json.loads(path.read_text(encoding="utf-8"))["former"][0]["removing"] is True
    assert records.all() == {"web": (RECORD._replace(removing=True), former, RECORD)}


def test_a_record_of_an_older_release(records: Records, path: pathlib.Path) -> None:
    old = {key: value for key, value in SAVED.items() if key not in ("isolate", "routed")}
    path.write_text(json.dumps(old), encoding="utf-8")
    ((record,),) = records.all().values()
    assert record == RECORD._replace(isolate=None, routed=None)
    assert (record.isolated, record.routed) == (True, None)


def _changed(*where: str | int, value: t.Any) -> dict[str, t.Any]:
    found: t.Any = json.loads(json.dumps(SAVED))
    inner = found
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    return dict(found)


DAMAGED: dict[str, t.Any] = {
    "no object": [],
    "no JSON": None,
    "no format": {**SAVED, "format": None},
    "nothing else": {"format": 1},
    "of another name": {**SAVED, "name": "db"},
    "name": _changed("name", value=5),
    "interfaces": _changed("interfaces", value={}),
    "an interface": _changed("interfaces", 0, value="eth0"),
    "addresses": _changed("interfaces", 0, "addresses", value="10.78.1.2/24"),
    "an address": _changed("interfaces", 0, "addresses", 0, value="10.78.1.2/240"),
    "an address that is a number": _changed("interfaces", 0, "addresses", 0, value=1),
    "a gateway": _changed("interfaces", 0, "host_gateways", 0, value=""),
    "mtu": _changed("interfaces", 0, "mtu", value="1500"),
    "foreign": _changed("interfaces", 0, "foreign", value=0),
    "a route": _changed("routes", 0, "to", value="default"),
    "a route with more": _changed("routes", 0, value=["0.0.0.0/0", "10.78.1.1", "eth0"]),
    "a port": _changed("publish", 0, "port", value=True),
    "a port that is a float": _changed("publish", 0, "port", value=80.0),
    "an ip": _changed("publish", 0, "ip", value="web"),
    "publish": _changed("publish", value=["80:80"]),
    "masquerade": _changed("masquerade", value="yes"),
    "former": {**SAVED, "former": 5},
    "one of former": {**SAVED, "former": [{"format": 1}]},
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_record(records: Records, path: pathlib.Path, kind: str) -> None:
    """One sentence, with the file: what the network has could be given away twice."""
    value = DAMAGED[kind]
    path.write_text("{" if value is None else json.dumps(value), encoding="utf-8")
    with pytest.raises(LongshoreError) as caught:
        records.all()
    if kind == "no format":
        assert "was made by another release" in caught.value.message
    else:
        assert caught.value.message == f"The record {path} is damaged."


def test_a_gateway_of_no_network_stops_nobody(records: Records, path: pathlib.Path) -> None:
    path.write_text(json.dumps(_changed("interfaces", 0, "host_gateways", value=["192.0.2.1"])), encoding="utf-8")
    assert bridge_addresses(records.all()["web"], "longshore0") == set()


@pytest.mark.parametrize(
    "found",
    [
        [], {}, {"boot": ""}, {"sysctls": {}}, {"sysctls": [], "rules": [], "namespaces": {}},
        {"sysctls": {"net/ipv4/ip_forward": "1"}, "rules": ["", ""], "namespaces": {}},
        {"sysctls": {"net/ipv4/ip_forward": [0, 1]}, "rules": ["", ""], "namespaces": {}},
        {"sysctls": {}, "rules": 5, "namespaces": {}}, {"sysctls": {}, "rules": [], "namespaces": {"web": "x"}},
    ],
)  # fmt: skip
def test_a_damaged_note_of_changes_says_nothing(records: Records, tmp_path: pathlib.Path, found: t.Any) -> None:
    (tmp_path / "run").mkdir()
    with_boot = {"boot": boot_id(), **found} if isinstance(found, dict) else found
    (tmp_path / "run" / "network.json").write_text(json.dumps(with_boot), encoding="utf-8")
    assert records.changed() == Changed()


def test_changes_of_this_boot(records: Records, tmp_path: pathlib.Path) -> None:
    (tmp_path / "run").mkdir()
    assert records.changed() == Changed()
    changed = Changed({"net/ipv4/ip_forward": ("0", "1")}, ("a", "b"), {"web": 4711})
    records.save_changed(changed)
    assert records.changed() == changed
    records.save_changed(Changed())
    assert records.changed() == Changed()


def test_constructors_do_no_io(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stat", "lstat", "open", "listdir", "scandir", "readlink"):
        monkeypatch.setattr(os, name, None)
    with monkeypatch.context() as context:
        context.setattr("builtins.open", None)
        Networks(state_dir="state/../state", run_dir="/nowhere")
        Records(state_dir="/nowhere", run_dir="/nowhere")
    assert NetworkRecord("web").interfaces == ()
