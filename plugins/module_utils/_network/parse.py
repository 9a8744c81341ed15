# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network shall be, read from what was written, with the addresses that pools give out: pure functions.

A record is what is kept of a network, a JSON object: name, interfaces (name, bridge, addresses, gateways, mac, mtu), routes
(to, via), publish (ip, port, last, target, protocol), masquerade.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import typing as t

from .._engine.errors import Conflict, InvalidInput

RECORD_FORMAT = 1  # Raised when an older release could misread what is written.
DEFAULT_BRIDGE, DEFAULT_MTU, _MOST_RULES = "longshore0", 1500, 1024
Record = dict[str, t.Any]
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_PUBLISH = re.compile(r"(?:(\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(\d+)(?:-(\d+))?:(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?")


class Interface(t.NamedTuple):
    """One interface as it was asked for."""

    name: str = "eth0"
    bridge: str = DEFAULT_BRIDGE
    address: tuple[str, ...] = ()
    subnet: tuple[str, ...] = ()
    gateway: tuple[str, ...] = ()
    mac: str | None = None
    mtu: int | None = None


class Request(t.NamedTuple):
    """One network as it was asked for."""

    name: str
    absent: bool = False
    interfaces: tuple[Interface, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()  # to, via
    publish: tuple[str, ...] = ()
    masquerade: bool = False


def family(address: str) -> int:
    return 6 if ":" in address else 4


def host_interface(state_dir: str, name: str, interface: str) -> str:
    """The end of the cable on the host: the same after a reboot, and known without any record."""
    return "ls-" + _hash(state_dir, name, interface)[:12]


def resolve(request: Request, others: t.Mapping[str, Record], old: Record | None, machine: str) -> Record:
    """The record of what was asked for. ``others``: the records of the other networks; ``old``: this one's, whose
    addresses are kept. Raises InvalidInput for what cannot be, and Conflict for what others have."""
    # A file in /run/netns, and of a record: nothing that leads elsewhere.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", request.name):
        hint = "Use letters, digits, '_', '-' and '.', no '-' or '.' first, at most 100 characters."
        raise InvalidInput(f"{request.name!r} cannot be the name of a network.", hint=hint)
    names = [interface.name for interface in request.interfaces]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"There are two interfaces with the name {name}.")
    taken = {address: name for name, record in others.items() for address in _used(record)}
    done: list[dict[str, t.Any]] = []
    for interface in request.interfaces:
        made = _interface(interface, old, taken, f"{machine}/{request.name}")
        done.append(made)
        taken.update(dict.fromkeys(_used({"interfaces": [made]}), request.name))
    record: Record = {
        "format": RECORD_FORMAT, "name": request.name, "interfaces": done,
        "routes": sorted((_route(to, via) for to, via in request.routes), key=str),
        "publish": sorted((publish(text) for text in request.publish), key=str), "masquerade": request.masquerade,
    }  # fmt: skip
    _check_ports(record, others)
    return record


def _used(record: Record) -> t.Iterator[str]:
    for interface in record["interfaces"]:
        yield from (address.partition("/")[0] for address in interface["addresses"])
        yield from interface["gateways"]


def _interface(wanted: Interface, old: Record | None, taken: t.Mapping[str, str], seed: str) -> dict[str, t.Any]:
    for name in (wanted.name, wanted.bridge):
        if not _LINK.fullmatch(name) or name in (".", "..", "lo"):
            hint = "Use up to 15 letters, digits, '_', '-' and '.'."
            raise InvalidInput(f"{name!r} cannot be the name of an interface.", hint=hint)
    if wanted.mtu is not None and not 576 <= wanted.mtu <= 65535:
        raise InvalidInput(f"The mtu {wanted.mtu} of {wanted.name} is not one from 576 to 65535.")
    subnets = _by_family(wanted.name, "subnet", [_subnet(text) for text in wanted.subnet])
    gateways = _by_family(wanted.name, "gateway", [_address(text) for text in wanted.gateway])
    addresses = []
    for text in wanted.address:
        address = _static(text, subnets)
        if str(address.ip) in taken:
            raise Conflict(f"The address {address.ip} is that of the network {taken[str(address.ip)]} already.")
        addresses.append(address)
    for version, subnet in subnets.items():
        pool_gateway = gateways.setdefault(version, next(iter(subnet.hosts())))
        if not any(address.version == version for address in addresses):
            addresses.append(_allocate(subnet, str(pool_gateway), taken, _kept(old, wanted.name)))
    for version, gateway in gateways.items():
        networks = [address.network for address in addresses if address.version == version]
        if not any(gateway in network for network in networks):
            raise InvalidInput(f"The gateway {gateway} of {wanted.name} is in the network of none of its addresses.")
    return {
        "name": wanted.name, "bridge": wanted.bridge, "addresses": sorted(str(address) for address in addresses),
        "gateways": sorted(str(gateway) for gateway in gateways.values()),
        "mac": _mac(wanted.mac) if wanted.mac else mac_of(seed, wanted.name), "mtu": wanted.mtu or DEFAULT_MTU,
    }  # fmt: skip


def _kept(old: Record | None, name: str) -> list[str]:
    interfaces = old["interfaces"] if old else []
    return [address for each in interfaces if each["name"] == name for address in each["addresses"]]


def _by_family(interface: str, what: str, values: t.Sequence[t.Any]) -> dict[int, t.Any]:
    found = {value.version: value for value in values}
    if len(found) < len(values):
        raise InvalidInput(f"{interface} can have one {what} of IPv4 and one of IPv6.")
    return found


def _allocate(subnet: Network, gateway: str, taken: t.Mapping[str, str], kept: t.Sequence[str]) -> t.Any:
    """What it had before, else the lowest that is free."""
    for text in kept:
        address = ipaddress.ip_interface(text)
        if address.network == subnet and str(address.ip) not in (*taken, gateway):
            return address
    for host in subnet.hosts():
        if str(host) not in (gateway, *taken):
            return ipaddress.ip_interface(f"{host}/{subnet.prefixlen}")
    raise Conflict(f"No address of the subnet {subnet} is free.", hint="Remove networks, or take a larger subnet.")


def _subnet(text: str) -> Network:
    try:
        subnet = ipaddress.ip_network(text)
    except ValueError as exc:
        raise InvalidInput(f"The subnet {text!r} is none: {exc}.", hint="Write one such as 10.78.0.0/24.") from exc
    if subnet.num_addresses < 4:
        raise InvalidInput(f"The subnet {text} is too small: it needs a gateway and an address.")
    return subnet


def _address(text: str) -> t.Any:
    try:
        return ipaddress.ip_address(text)
    except ValueError as exc:
        raise InvalidInput(f"{text!r} is not an address.") from exc


def _static(text: str, subnets: t.Mapping[int, t.Any]) -> t.Any:
    subnet = subnets.get(family(text))
    if "/" not in text and subnet is None:
        raise InvalidInput(
            f"The address {text} has no length of its network.", hint=f"Write {text}/24, or give subnet."
        )
    try:
        address = ipaddress.ip_interface(text if "/" in text else f"{text}/{subnet.prefixlen if subnet else ''}")
    except ValueError as exc:
        raise InvalidInput(f"The address {text!r} is none: {exc}.") from exc
    if subnet is not None and address.network != subnet:
        raise InvalidInput(f"The address {text} is not in the subnet {subnet}.")
    return address


def _route(to: str, via: str) -> dict[str, str]:
    gateway = _address(via)
    if to == "default":
        to = "0.0.0.0/0" if gateway.version == 4 else "::/0"
    try:
        network = ipaddress.ip_network(to)
    except ValueError as exc:
        raise InvalidInput(f"A route cannot lead to {to!r}: {exc}.", hint="Give a network, or default.") from exc
    if network.version != gateway.version:
        raise InvalidInput(f"The route to {to} cannot go via {via}: one is IPv4, the other IPv6.")
    return {"to": str(network), "via": str(gateway)}


def _mac(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text) or int(text[:2], 16) % 2 or text.strip("0:") == "":
        raise InvalidInput(f"{text!r} is not the hardware address of one interface.", hint="Write 02:00:00:00:00:01.")
    return text.lower()


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def mac_of(*parts: str) -> str:
    """A local one, the same every time: the neighbours remember it."""
    digits = _hash(*parts)
    return ":".join(["02", *(digits[at : at + 2] for at in range(0, 10, 2))])


def publish(text: str) -> dict[str, t.Any]:
    found = _PUBLISH.fullmatch(text)
    if not found:
        hint = "Write [IP:]PORT[-LAST]:PORT[/tcp|udp|sctp], an address of IPv6 in brackets."
        raise InvalidInput(f"publish cannot be {text!r}.", hint=hint)
    ip, first, last, target, target_last, protocol = found.groups()
    port, end, inner = int(first), int(last or first), int(target)
    if not (0 < port <= end < 65536 and inner > 0 and inner + end - port < 65536):
        raise InvalidInput(f"publish cannot be {text!r}: a port is a number from 1 to 65535.")
    if target_last and int(target_last) - inner != end - port:
        raise InvalidInput(f"publish cannot be {text!r}: the two ranges are not of the same length.")
    if inner != port and end - port >= _MOST_RULES:
        raise InvalidInput(f"publish cannot be {text!r}: a range of other ports has {_MOST_RULES} at most.")
    address = str(_address(ip.strip("[]"))) if ip else None
    if address in ("0.0.0.0", "::"):
        raise InvalidInput(f"publish cannot be {text!r}.", hint="Leave out the address for all of the host's.")
    return {"ip": address, "port": port, "last": end, "target": inner, "protocol": protocol or "tcp"}


def published(entry: t.Mapping[str, t.Any]) -> str:
    """As publish() reads it."""
    ip = f"[{entry['ip']}]:" if ":" in (entry["ip"] or "") else f"{entry['ip']}:" if entry["ip"] else ""
    length = entry["last"] - entry["port"]
    ranges = [f"{start}-{start + length}" if length else str(start) for start in (entry["port"], entry["target"])]
    return f"{ip}{':'.join(ranges)}/{entry['protocol']}"


def targets(record: Record) -> dict[int, str]:
    """Where published ports lead to, by family: the first address that has a gateway."""
    found: dict[int, str] = {}
    for interface in record["interfaces"]:
        for address in interface["addresses"]:
            if any(family(gateway) == family(address) for gateway in interface["gateways"]):
                found.setdefault(family(address), address)
    return found


def _check_ports(record: Record, others: t.Mapping[str, Record]) -> None:
    seen = [(other, entry) for other, its in others.items() for entry in its["publish"]]
    for entry in record["publish"]:
        if not {family(entry["ip"])} & targets(record).keys() if entry["ip"] else not targets(record):
            hint = "Give subnet, or address and gateway."
            raise InvalidInput(f"{published(entry)} cannot be published without an address and a gateway.", hint=hint)
        for other, its in seen:
            if (
                its["protocol"] == entry["protocol"] and its["port"] <= entry["last"] and entry["port"] <= its["last"]
                and (its["ip"] is None or entry["ip"] is None or its["ip"] == entry["ip"])
            ):  # fmt: skip
                raise Conflict(f"{published(entry)} overlaps {published(its)}, published by the network {other}.")
        seen.append((record["name"], entry))
