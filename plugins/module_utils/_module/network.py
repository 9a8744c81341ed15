# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of oci_network, what they ask for, and what it returns."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._base.errors import InvalidOption
from .._netlink.netns import path_of
from .._network.networks import Outcome
from .._network_spec.parse import DEFAULT_BRIDGE, Interface, Request
from .boundary import DIRECTORY_ARGUMENTS
from .diff import diff

_STRINGS = {"type": "list", "elements": "str"}
# The options of one interface. They have no defaults: a network without any of them has no interface.
_INTERFACE_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "bridge": {"type": "str"},
    "subnet": _STRINGS,
    "address": _STRINGS,
    "gateway": _STRINGS,
    "mac": {"type": "str"},
    "mtu": {"type": "int"},
}
ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
    **_INTERFACE_ARGUMENTS,
    "interfaces": {"type": "list", "elements": "dict", "options": {"name": {"type": "str"}, **_INTERFACE_ARGUMENTS}},
    "routes": {
        "type": "list",
        "elements": "dict",
        "options": {"to": {"type": "str", "required": True}, "via": {"type": "str", "required": True}},
    },
    "publish": _STRINGS,
    "masquerade": {"type": "bool", "default": True},
    "isolate": {"type": "bool", "default": True},
    "routed": {"type": "bool", "default": False},
    **DIRECTORY_ARGUMENTS,
}
RULES: dict[str, t.Any] = {"mutually_exclusive": [("interfaces", name) for name in _INTERFACE_ARGUMENTS]}


def request(params: t.Mapping[str, t.Any]) -> Request:
    """Return the request. Raises InvalidOption for options that exclude each other."""
    own = {name: params[name] for name in _INTERFACE_ARGUMENTS if params[name] is not None}
    interfaces = params["interfaces"] if params["interfaces"] is not None else [own] if own else []
    if params["publish"] and not interfaces and params["state"] == "present":
        raise InvalidOption("publish needs an interface.", hint="Set subnet, or address and gateway.")
    return Request(
        name=params["name"], absent=params["state"] == "absent",
        interfaces=tuple(_interface(each, f"eth{number}") for number, each in enumerate(interfaces)),
        routes=tuple((each["to"], each["via"]) for each in params["routes"] or ()),
        publish=tuple(params["publish"] or ()), masquerade=params["masquerade"],
        isolate=params["isolate"], routed=params["routed"],
    )  # fmt: skip


def _interface(given: t.Mapping[str, t.Any], name: str) -> Interface:
    values = {key: value for key, value in given.items() if value is not None}
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return Interface(**{"name": name, "bridge": DEFAULT_BRIDGE, **values, **lists})


def result(module: AnsibleModule, outcome: Outcome) -> dict[str, t.Any]:
    for warning in outcome.warnings:
        module.warn(warning)
    actions = [action.value for action in outcome.plan.actions]
    return {
        "changed": bool(actions),
        "actions": actions,
        "network": describe(module.params["name"], outcome),
        "diff": diff(outcome.plan.differences),
    }


def describe(name: str, outcome: Outcome) -> dict[str, t.Any]:
    """Return a network as the modules do."""
    record = outcome.record
    found: dict[str, t.Any] = {"name": name, "state": "present" if record else "absent"}
    if record:
        interfaces = [
            {"name": each.name, "bridge": each.bridge, "addresses": [*each.addresses], "gateways": [*each.gateways],
             "mac": each.mac, "mtu": each.mtu, "host_interface": outcome.ends[each.name]}
            for each in record.interfaces
        ]  # fmt: skip
        found.update(
            path=path_of(name), interfaces=interfaces, routes=[route._asdict() for route in record.routes], masquerade=record.masquerade,
            isolate=record.isolated, routed=bool(record.routed),
            publish=[str(port) for port in record.publish],
        )  # fmt: skip
    return found
