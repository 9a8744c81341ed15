# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of networks as a table: what is wanted, kept and on the host, and the operations that follow. Nothing is touched."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._netlink.links import Link, Route
from ansible_collections.longshore.oci.plugins.module_utils._network_spec import names, operations, sysctls
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.differences import (
    Observed,
    Target,
    bridge_addresses,
)
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.parse import (
    Interface,
    Request,
    Surroundings,
    resolve,
)
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.plan import Action, Plan, plan, plan_removal
from ansible_collections.longshore.oci.plugins.module_utils._network_spec.record import NetworkRecord

pytestmark = pytest.mark.pure

STATE, BRIDGE, END = "/var/lib/longshore", "longshore0", names.host_interface("/var/lib/longshore", "web", "eth0")
TARGET = Target({"net/ipv4/ip_forward": "1"}, "table inet longshore {}\n", STATE)
POOL = Interface(subnet=("10.78.1.0/24", "fd00:78:1::/64"))


def _record(
    name: str, *interfaces: Interface, others: t.Mapping[str, NetworkRecord] | None = None, **more: t.Any
) -> NetworkRecord:
    return resolve(Request(name, interfaces=interfaces, **more), Surroundings(others or {}, machine="m"), None)


WEB = _record("web", POOL, publish=("8080:80", "1053:53/udp"))
OTHER = _record("other", POOL, others={"web": WEB})
ELSEWHERE = _record("other", POOL._replace(bridge="br1", subnet=("10.79.1.0/24",)))
PORTS = tuple(port for port in WEB.publish if port.protocol == "udp")


class World(t.NamedTuple):
    """All that the planner sees."""

    wanted: NetworkRecord
    former: tuple[NetworkRecord, ...]
    others: tuple[NetworkRecord, ...]
    seen: Observed

    def plan(self) -> Plan:
        return plan(self.wanted, self.former, self.others, self.seen, TARGET)

    def removal(self) -> Plan:
        return plan_removal("web", self.former, self.others, self.seen, TARGET)


def _there(*records: NetworkRecord) -> Observed:
    """The network web as its record has it, beside others."""
    addresses = tuple(sorted(bridge_addresses(records, BRIDGE)))
    bridge = Link(
        10,
        BRIDGE,
        "bridge",
        names.bridge_mac(STATE, BRIDGE),
        1500,
        True,
        addresses=addresses,
        settings=sysctls.closed(BRIDGE, True),
    )
    end = Link(11, END, "veth", "fe:00:00:00:00:01", 1500, True, 10, 2, settings=sysctls.closed(END, False))
    (interface,) = WEB.interfaces
    inside = Link(
        2, "eth0", "veth", interface.mac, 1500, True, None, 11, addresses=tuple(sorted(interface.addresses)),
        settings=sysctls.closed("eth0", True),
    )  # fmt: skip
    lo = Link(1, "lo", up=True, settings=sysctls.closed("lo"))
    links = {each.name: each for each in (bridge, end)}
    return Observed(True, links, [BRIDGE], {"eth0": end}, {"lo": lo, "eth0": inside}, list(WEB.routes))


NOTHING = Observed(False, {}, [], {}, {}, [], sysctls={"net/ipv4/ip_forward": ("0", "1")}, rules=False)
MADE = World(WEB, (WEB,), (), _there(WEB))


def _seen(**changes: t.Any) -> World:
    return MADE._replace(seen=MADE.seen._replace(**changes))


def _inside(name: str = "eth0", **changes: t.Any) -> World:
    inside = {**MADE.seen.inside}
    inside[name] = inside[name]._replace(**changes)
    return _seen(inside=inside)


def _end(**changes: t.Any) -> World:
    end = MADE.seen.ends["eth0"]._replace(**changes)
    return _seen(ends={"eth0": end}, host={**MADE.seen.host, END: end})


def _bridge(**changes: t.Any) -> World:
    return _seen(host={**MADE.seen.host, BRIDGE: MADE.seen.host[BRIDGE]._replace(**changes)})


def _wanted(**changes: t.Any) -> World:
    interface = WEB.interfaces[0]._replace(**changes)
    return MADE._replace(wanted=WEB._replace(interfaces=(interface,)))


def _settings(link: str, **changes: str) -> dict[str, str]:
    found = dict(sysctls.closed(link, True))
    return {path: changes.get(path.rpartition("/")[2], value) for path, value in found.items()}


BRIDGED, CABLE = (
    ["CreateBridge", "ConfigureLink"],
    ["CreateVethPair", "ConfigureLink", "ConfigureLink", "ConfigureLink"],
)
LINKS = ["ConfigureLink", "ConfigureLink", "ConfigureLink", "ChangeRoutes"]  # the end, lo and eth0
CASES: dict[str, tuple[World, str, list[str]]] = {
    "nothing to do": (MADE, "", []),
    "nothing there": (
        World(WEB, (), (), NOTHING),
        "record bridge namespace interface route forwarding rules",
        ["SaveRecord", *BRIDGED, "CreateNamespace", *CABLE, "ChangeRoutes", "SetSysctls", "LoadRules"],
    ),
    "after a reboot": (
        World(WEB, (WEB,), (), NOTHING),
        "bridge namespace interface route forwarding rules",
        [*BRIDGED, "CreateNamespace", *CABLE, "ChangeRoutes", "SetSysctls", "LoadRules"],
    ),
    "nothing there but the bridge": (
        World(WEB, (), (OTHER,), NOTHING._replace(host={BRIDGE: _there(OTHER).host[BRIDGE]}, our_bridges=[BRIDGE], sysctls={})),
        "record namespace interface route rules",
        ["SaveRecord", "CreateNamespace", *CABLE, "ChangeRoutes", "LoadRules"],
    ),
    "no interface": (
        World(_record("web"), (), (), NOTHING._replace(sysctls={}, rules=True)),
        "record namespace", ["SaveRecord", "CreateNamespace", "ConfigureLink"],
    ),
    "saved, and killed": (
        World(WEB, (WEB, WEB._replace(publish=())), (), _there(WEB)._replace(rules=False)),
        "record rules", ["SaveRecord", "LoadRules", "SaveRecord"],
    ),
    "done, and killed before the record said so": (MADE._replace(former=(WEB, OTHER)), "record", ["SaveRecord", "SaveRecord"]),
    "options only": (MADE._replace(wanted=WEB._replace(isolate=False)), "record", ["SaveRecord", "SaveRecord"]),
    "no ports any more": (
        MADE._replace(wanted=WEB._replace(publish=()), seen=MADE.seen._replace(rules=False, obsolete_sysctls=True)),
        "record rules", ["SaveRecord", "LoadRules", "RestoreSysctls", "SaveRecord"],
    ),
    "the record of an older release": (
        MADE._replace(former=(WEB._replace(isolate=None, routed=None),)), "record", ["SaveRecord", "SaveRecord"],
    ),
    "rules": (_seen(rules=False), "rules", ["LoadRules"]),
    "forwarding": (_seen(sysctls={"net/ipv4/ip_forward": ("0", "1")}), "forwarding", ["SetSysctls"]),
    "sysctls that nothing needs are no reason": (_seen(obsolete_sysctls=True), "", []),
    "bridge down": (_bridge(up=False), "bridge", ["ConfigureLink"]),
    "bridge without an address": (_bridge(addresses=("fd00:78:1::1/64",)), "bridge", ["ConfigureLink"]),
    "bridge open to routers": (_bridge(settings=_settings(BRIDGE, accept_ra="1")), "bridge", ["ConfigureLink"]),
    "somebody's address on the bridge": (_bridge(addresses=(*MADE.seen.host[BRIDGE].addresses, "10.80.0.1/24")), "", []),
    "interface down": (_inside(up=False), "interface", LINKS),
    "end down": (_end(up=False), "interface", LINKS),
    "end not at the bridge": (_end(master=None), "interface", LINKS),
    "end open": (_end(settings=_settings(END, accept_ra="1")), "interface", LINKS),
    "loopback down": (_inside("lo", up=False), "interface", ["ConfigureLink", "ChangeRoutes"]),
    "loopback open": (
        _inside("lo", settings={"net/ipv4/conf/all/proxy_arp": "1"}), "interface", ["ConfigureLink", "ChangeRoutes"],
    ),
    "address gone": (_inside(addresses=("10.78.1.2/24",)), "interface", LINKS),
    "somebody's address in the namespace": (_inside(addresses=(*MADE.seen.inside["eth0"].addresses, "10.1.1.1/32")), "", []),
    "another end": (_inside(peer=99), "interface", ["RemoveLink", *CABLE, "ChangeRoutes"]),
    "interface gone, its end left": (
        _seen(inside={"lo": MADE.seen.inside["lo"]}), "interface", ["RemoveLink", *CABLE, "ChangeRoutes"],
    ),
    "route gone": (_seen(routes=[WEB.routes[0]]), "route", ["ChangeRoutes"]),
    "somebody's route": (_seen(routes=[*WEB.routes, Route("10.8.0.0/16", "10.78.1.8", "eth0")]), "", []),
    "another mac": (_wanted(mac="02:00:00:00:00:09"), "record interface", ["SaveRecord", *LINKS, "SaveRecord"]),
    "another mtu": (_wanted(mtu=9000), "record interface", ["SaveRecord", *LINKS, "SaveRecord"]),
    "another bridge": (
        _wanted(bridge="br9"), "record bridge interface", ["SaveRecord", *BRIDGED, *LINKS, "RemoveLink", "SaveRecord"],
    ),
    "a bridge of somebody else": (
        _seen(our_bridges=[]), "", [],
    ),
    "no interface any more": (
        MADE._replace(wanted=WEB._replace(interfaces=(), routes=(), publish=())),
        "record bridge interface route", ["SaveRecord", "RemoveLink", "ConfigureLink", "ChangeRoutes", "RemoveLink", "SaveRecord"],
    ),
}  # fmt: skip


def _names(found: Plan) -> list[str]:
    return [type(operation).__name__ for operation in found.operations]


@pytest.mark.parametrize("case", CASES)
def test_plan(case: str) -> None:
    world, actions, steps = CASES[case]
    found = world.plan()
    assert " ".join(action.value for action in found.actions) == actions
    assert _names(found) == steps
    assert bool(found.operations) == bool(found.actions)
    assert Action.REMOVE not in found.actions


WAY = ["SetSysctls", "LoadRules", "RestoreSysctls"]
OPEN = MADE.seen._replace(rules=False, obsolete_sysctls=True)
REMOVALS: dict[str, tuple[World, list[str]]] = {
    "nothing there": (World(WEB, (), (), NOTHING), []),
    "all of it": (
        MADE._replace(seen=OPEN),
        ["CheckUnused", "SaveRecord", "LoadRules", "RestoreSysctls", "RemoveLink", "RemoveNamespace", "RemoveLink", "Forget"],
    ),
    "beside another": (
        MADE._replace(others=(OTHER,), seen=_there(WEB, OTHER)._replace(rules=False)),
        ["CheckUnused", "SaveRecord", "LoadRules", "RemoveLink", "RemoveNamespace", "Forget"],
    ),
    "the last with an address at the bridge": (
        MADE._replace(others=(OTHER._replace(interfaces=(OTHER.interfaces[0]._replace(host_gateways=()),)),)),
        ["CheckUnused", "SaveRecord", "RemoveLink", "RemoveNamespace", "ConfigureLink", "Forget"],
    ),
    "of a bridge that somebody uses": (
        MADE._replace(seen=MADE.seen._replace(host={**MADE.seen.host, "guest": Link(20, "guest", master=10)})),
        ["CheckUnused", "SaveRecord", "RemoveLink", "RemoveNamespace", "ConfigureLink", "Forget"],
    ),
    "after a reboot": (World(WEB, (WEB,), (), NOTHING), ["SaveRecord", "SetSysctls", "LoadRules", "RemoveNamespace", "Forget"]),
    "half removed": (
        World(WEB, (WEB._replace(removing=True),), (), NOTHING._replace(sysctls={}, rules=True)),
        ["SaveRecord", "RemoveNamespace", "Forget"],
    ),
    "no record": (MADE._replace(former=()), ["CheckUnused", "RemoveLink", "RemoveNamespace", "RemoveLink", "Forget"]),
    "a namespace of somebody else": (
        _seen(namespace=False, foreign=True, ends={}, inside={}, host={BRIDGE: MADE.seen.host[BRIDGE]}), ["SaveRecord", "RemoveLink", "Forget"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REMOVALS)
def test_removal(case: str) -> None:
    world, steps = REMOVALS[case]
    found = world.removal()
    assert found.actions == ((Action.REMOVE,) if steps else ())
    assert _names(found) == steps


def _of(found: Plan, kind: type) -> list[t.Any]:
    return [operation for operation in found.operations if isinstance(operation, kind)]


def test_operations_have_all_that_they_need() -> None:
    found = World(WEB, (), (), NOTHING).plan()
    assert _of(found, operations.SaveRecord) == [(WEB, ())]
    assert _of(found, operations.CreateBridge) == [(BRIDGE, names.bridge_mac(STATE, BRIDGE))]
    mac = WEB.interfaces[0].mac
    assert _of(found, operations.CreateVethPair) == [
        ("web", END, names.host_mac(STATE, "web", "eth0"), "eth0", mac, 1500)
    ]
    bridge, end, lo, inside = _of(found, operations.ConfigureLink)
    assert (bridge.network, bridge.name, bridge.add) == ("", BRIDGE, ("10.78.1.1/24", "fd00:78:1::1/64"))
    assert (end.network, end.name, end.alias, end.bridge, end.mtu) == ("", END, "longshore web eth0", BRIDGE, 0)
    assert (lo.network, lo.name, lo.add) == ("web", "lo", ())
    assert (inside.network, inside.name, inside.add, inside.mac) == ("web", "eth0", WEB.interfaces[0].addresses, "")
    assert inside.announce
    assert _of(found, operations.ChangeRoutes) == [("web", WEB.routes, ())]
    assert _of(found, operations.SetSysctls) == [(TARGET.sysctls,)]
    assert _of(found, operations.LoadRules) == [(TARGET.rules, PORTS)]


def test_a_changed_record_keeps_what_it_was_until_the_end() -> None:
    first, last = _of(_wanted(mtu=9000).plan(), operations.SaveRecord)
    assert (first.former, last.former) == ((WEB,), ())
    assert first.record == last.record
    (removing,) = _of(MADE._replace(former=(WEB, OTHER)).removal(), operations.SaveRecord)
    assert removing == (WEB._replace(removing=True), (OTHER,))


def test_a_changed_link_gets_what_is_different() -> None:
    end, _lo, inside = _of(_wanted(mtu=9000, mac="02:00:00:00:00:09").plan(), operations.ConfigureLink)
    assert (end.mtu, end.mac, inside.mtu, inside.mac) == (9000, "", 9000, "02:00:00:00:00:09")
    _other, _lo, inside = _of(_inside(addresses=("10.78.1.2/24",)).plan(), operations.ConfigureLink)
    assert (inside.drop, inside.add) == ((), ("fd00:78:1::2/64",))
    changed = _wanted(addresses=("10.78.1.9/24", "fd00:78:1::2/64"))
    _other, _lo, inside = _of(changed.plan(), operations.ConfigureLink)
    # The kernel may take the second one along with the first.
    assert (inside.drop, inside.add) == (("10.78.1.2/24",), ("10.78.1.9/24", "fd00:78:1::2/64"))


def test_routes_are_set_again_with_the_addresses_by_which_they_lead() -> None:
    old, new = WEB.routes[0], WEB.routes[0]._replace(via="10.78.1.9")
    changed = MADE._replace(wanted=WEB._replace(routes=(new, *WEB.routes[1:])))
    assert _of(changed.plan(), operations.ChangeRoutes) == [("web", (new,), ())]
    fewer = MADE._replace(wanted=WEB._replace(routes=WEB.routes[1:]))
    assert _of(fewer.plan(), operations.ChangeRoutes) == [("web", (), (old,))]
    assert _of(_inside(up=False).plan(), operations.ChangeRoutes) == [("web", WEB.routes, ())]


def test_clients_of_ports_that_are_gone_are_led_elsewhere_too() -> None:
    world = MADE._replace(wanted=WEB._replace(publish=()), seen=MADE.seen._replace(rules=False))
    assert _of(world.plan(), operations.LoadRules) == [(TARGET.rules, PORTS)]
    assert _of(MADE._replace(seen=OPEN).removal(), operations.LoadRules) == [(TARGET.rules, PORTS)]
