# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of the host that are a container's as long as it lives: kept from everybody else, or listened on for it.

The sockets are ours, and conmon inherits them. It closes them when the container has ended, before it writes the exit file
(conmon, close_fds.c), and the kernel does when conmon dies. So nothing has to be given back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import typing as t

from .._base.errors import Conflict, EngineError, InvalidInput, reason_of
from .._base.files import remove_file
from .._base.process import is_alive
from .._state.config import listen_name
from .._state.model import Definition, Record
from .._trust import trust

_PORT = re.compile(r"(?:(\[[^]]+\]|[^:\[\]]+):)?(\d+)(?:-(\d+))?(?:/(.+))?")
_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP), "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}  # fmt: skip
_NOT_IN_KERNEL = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
_BACKLOG = 4096  # as systemd has it; the kernel cuts it to net.core.somaxconn
# Names and definitions of the containers that have their ports now, to say who has one.
Containers = t.Callable[[], t.Iterable[tuple[str, Definition]]]


class Address(t.NamedTuple):
    """Where a socket is bound. ``host`` None: every address, of IPv4 and IPv6. ``path`` of a Unix socket."""

    kind: str  # tcp, udp, sctp or unix
    host: str | None = None
    port: int = 0
    path: str = ""
    name: str = ""  # for LISTEN_FDNAMES

    def __str__(self) -> str:
        where = f"[{self.host}]:" if self.host and ":" in self.host else f"{self.host}:" if self.host else ""
        return self.path or f"{where}{self.port}/{self.kind}"

    def covers(self, other: Address) -> bool:
        """Whether all that the other one is bound to is this one's."""
        if (self.kind, self.port, self.path) != (other.kind, other.port, other.path):
            return False
        if self.host in (None, other.host):
            return True
        return other.host is not None and self.host == ("::" if ":" in other.host else "0.0.0.0")

    def overlaps(self, other: Address) -> bool:
        return self.covers(other) or other.covers(self)


def parse_reservation(text: str) -> list[Address]:
    """``8080``, ``127.0.0.1:8080/tcp``, ``[::1]:53/udp`` or ``8000-8010/tcp``, one for each port. Raises InvalidInput."""
    found = _PORT.fullmatch(text)
    if found is None:
        hint = "Such as 8080, 127.0.0.1:8080/tcp, [::1]:53/udp or 8000-8010/tcp."
        raise InvalidInput(f"{text!r} is not a port to reserve.", hint=hint)
    host, first, last, kind = found.groups()
    if (kind or "tcp") not in _KINDS:
        raise InvalidInput(f"{text} has the protocol {kind}, which is none of tcp, udp and sctp.")
    ports = range(int(first), int(last or first) + 1)
    if not ports or ports[0] < 1 or ports[-1] > 65535:
        raise InvalidInput(f"{text} is not a range of ports: they go from 1 to 65535, the lower one first.")
    return [Address(kind or "tcp", _plain(host, text), port) for port in ports]


def _plain(host: str | None, text: str) -> str | None:
    if host is None:
        return None
    plain, zone, interface = host.strip("[]").partition("%")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        # As it is always written, so that two can be compared.
        return socket.inet_ntop(family, socket.inet_pton(family, plain)) + zone + interface
    except OSError:
        hint = "A name is none; an address of IPv6 stands in brackets."
        raise InvalidInput(f"{host} in {text} is not an IP address.", hint=hint) from None


def parse_listen(text: str) -> Address:
    """``8080/tcp``, ``[::1]:53/udp`` or ``unix:/run/web.sock``, each with ``NAME=`` before it or not. Raises InvalidInput."""
    name = listen_name(text)
    rest = text[len(name) + 1 :] if name else text
    if not rest.startswith("unix:"):
        addresses = parse_reservation(rest)
        if len(addresses) > 1 or addresses[0].kind == "sctp":
            raise InvalidInput(f"{text} is not an address to listen on: it takes one port, of tcp or udp.")
        return addresses[0]._replace(name=name)
    path = rest[len("unix:") :]
    if not path.startswith("/") or not 2 <= len(os.fsencode(path)) <= 107:
        raise InvalidInput(f"{path!r} cannot be the path of a socket: it must be absolute, with 107 bytes at most.")
    return Address("unix", path=path, name=name)


def wanted(definition: Definition) -> tuple[list[Address], list[Address]]:
    """What is to be listened on, and what is to be reserved. Raises InvalidInput, also for what is there twice."""
    listen = [parse_listen(text) for text in definition.listen]
    reserve = [address for text in definition.reserve_ports for address in parse_reservation(text)]
    seen: dict[tuple[str, int, str], list[Address]] = {}
    for address in (*listen, *reserve):
        same = seen.setdefault((address.kind, address.port, address.path), [])
        for other in filter(address.overlaps, same):
            what = "is there twice" if address.host == other.host else f"overlaps {other}"
            raise InvalidInput(f"{address} {what} (reserve_ports, listen).")
        same.append(address)
    return listen, reserve


def held(record: Record | None) -> Definition | None:
    """What says which ports conmon of a container has now; None where it has none, for it has ended."""
    return without_forwarded(record.definition) if record and is_alive(record.monitor) else None


def kept(recorded: Record | None) -> Definition | None:
    """What says which ports are free as soon as a container is replaced: those of a launch that was killed too, whose conmon no
    record tells of yet."""
    launching = recorded is not None and recorded.phase in ("creating", "restoring")
    return without_forwarded(recorded.definition) if recorded and launching else held(recorded)


def without_forwarded(definition: Definition) -> Definition:
    """A network helper binds the ports of the host itself: nobody else gets them, and neither could the helper."""
    return definition if definition.network_helper == "none" else definition._replace(reserve_ports=())


def check_free(definition: Definition, held: Definition | None, others: Containers) -> None:
    """Try every address, and give it back at once. Raises Conflict, or InvalidInput for what is none of this host.

    ``held`` is what conmon of the container itself has at the moment.
    """
    listen, reserve = wanted(definition)
    ours = [address for some in (wanted(held) if held else ()) for address in some]
    for address, listening in [(each, True) for each in listen] + [(each, False) for each in reserve]:
        own = [each for each in ours if each.overlaps(address)]
        if any(each.covers(address) for each in own):
            continue
        if address.kind == "unix":
            _check_path(address.path)
        elif own:
            # It cannot be tried as long as the container has a part of it.
            with contextlib.suppress(ImportError):
                who = _process_at(address, own)
                if who:
                    raise _in_use(address, who)
        else:
            check_socket(address, listening=listening, others=others)


def check_socket(address: Address, *, listening: bool, others: Containers) -> None:
    """As open_socket(), without a moment in which a client could connect."""
    if address.kind == "sctp" and not os.path.exists("/proc/net/sctp"):
        return  # Nobody has it: to ask would load the module.
    opened = open_socket(address, listening=listening, others=others, trying=True)
    if opened is not None:
        opened.close()


def open_all(definition: Definition, others: Containers) -> tuple[list[socket.socket], list[str]]:
    """Listening sockets first, then the reserved ones; and warnings. All or none: on failure nothing stays open."""
    listen, reserve = wanted(definition)
    warnings = []
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(_must(open_socket(each, listening=True, others=others))) for each in listen]
        for address in reserve:
            reserved = open_socket(address, listening=False, others=others)
            if reserved is None:
                warnings.append(f"{address} is not reserved: this kernel has no {address.kind.upper()}.")
            else:
                sockets.append(opened.enter_context(reserved))
        opened.pop_all()
    return sockets, warnings


def _must(opened: socket.socket | None) -> socket.socket:
    if opened is None:
        raise EngineError("This kernel has no such sockets.")
    return opened


def open_socket(address: Address, *, listening: bool, others: Containers, trying: bool = False) -> socket.socket | None:
    """None where the kernel knows no such protocol. With ``trying``, one that is to listen is bound only."""
    try:
        if address.kind == "unix":
            return _open_unix(address.path)
        return bound(address, reuse=listening, listening=listening and not trying)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise _in_use(address, _holder(address, others())) from exc
        if exc.errno == errno.EADDRNOTAVAIL:
            raise InvalidInput(f"{address} cannot be had: {address.host} is not an address of this host.") from exc
        raise EngineError(f"{address} cannot be had: {reason_of(exc)}.") from exc


def _in_use(address: Address, who: str) -> Conflict:
    return Conflict(f"{address} is in use{who}.", hint="Choose another port, or stop who has it.")


def bound(address: Address, *, reuse: bool, listening: bool) -> socket.socket | None:
    """Reserved ones without SO_REUSEADDR, and not listening: nobody else can bind the port then, and clients are refused."""
    kind, protocol = _KINDS[address.kind]
    families = [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]
    if address.host is not None:
        families = [(socket.AF_INET6 if ":" in address.host else socket.AF_INET, address.host)]
    for last, (family, host) in zip((len(families) == 1, True), families):
        try:
            opened = socket.socket(family, kind, protocol)
        except OSError as exc:
            if exc.errno not in _NOT_IN_KERNEL:
                raise
            continue
        try:
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address.host is not None)
            if reuse and kind == socket.SOCK_STREAM:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # The interface of a link-local address becomes a number here.
            target = socket.getaddrinfo(host, address.port, family, kind, protocol, socket.AI_NUMERICHOST)[0][4]
            opened.bind(target)
            if listening and kind == socket.SOCK_STREAM:
                opened.listen(_BACKLOG)
            return opened
        except OSError as exc:
            opened.close()
            # IPv6 may be switched off by sysctl, with its sockets still to be had.
            if last or exc.errno != errno.EADDRNOTAVAIL:
                raise
    return None


def _check_path(path: str) -> None:
    """What an earlier run has left is replaced; a socket that somebody listens on, and anything else, is not."""
    if not os.path.isdir(os.path.dirname(path)):
        raise InvalidInput(f"The directory of the socket {path} does not exist.")
    trust.check(path, "The socket", entry=True, missing=True)
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise InvalidInput(f"{path} exists, and is not a socket.", hint="Choose another path, or remove it.")
    if not _is_left(path):
        raise Conflict(f"{path} is in use: somebody listens there.", hint="Choose another path, or stop who has it.")


def _is_left(path: str) -> bool:
    """Whether nobody is at the other end of a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:  # a full backlog, or a socket of another kind: somebody is there
            pass
    return False


def _open_unix(path: str) -> socket.socket:
    _check_path(path)
    remove_file(path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(opened.fileno(), 0o600)  # The file gets this mode from the socket; nobody connects too early.
        opened.bind(path)
        _open_to_all(path)
        opened.listen(_BACKLOG)
    except BaseException:
        opened.close()
        raise
    return opened


def _open_to_all(path: str) -> None:
    """For every client, as systemd has it (SocketMode=); its directory can say no. Whatever the name leads to by now, the mode
    of nothing else is changed: a container may have the directory too."""
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(found)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            raise EngineError(f"The socket {path} was replaced while it was made.")
        os.chmod(f"/proc/self/fd/{found}", 0o666)
    finally:
        os.close(found)


def remove_sockets(definition: Definition) -> None:
    """The files of Unix sockets outlive their sockets."""
    for text in definition.listen:
        address = parse_listen(text)
        path = address.path
        if (
            address.kind == "unix"
            and os.path.lexists(path)
            and stat.S_ISSOCK(os.lstat(path).st_mode)
            and _is_left(path)
        ):
            remove_file(path)


def _holder(address: Address, containers: t.Iterable[tuple[str, Definition]]) -> str:
    """Words about who has a port. What is bound and does not listen is in no table of the kernel, so it is looked for among
    the containers."""
    for name, definition in containers:
        if any(each.overlaps(address) for some in wanted(definition) for each in some):
            return f" by the container {name}"
    try:
        who = _process_at(address, ())
    except ImportError:
        return " (python3-psutil on the host could tell by whom)"
    return who or " (by another user, or for a minute by a connection that has just ended)"


def _process_at(address: Address, without: t.Collection[Address]) -> str:
    """Words about a process that has a port, but for certain addresses; empty where there is none, or none to be seen.

    Raises ImportError where psutil is missing.
    """
    import psutil

    for connection in psutil.net_connections(kind=address.kind) if address.kind != "sctp" else ():
        free = address.kind == "tcp" and connection.status != psutil.CONN_LISTEN
        if free or not connection.laddr or connection.laddr.port != address.port or not connection.pid:
            continue
        # At :: it is, in most cases, IPv4 as well.
        host = None if connection.laddr.ip == "::" else connection.laddr.ip
        found = Address(address.kind, host, address.port)
        if found.overlaps(address) and not any(each.covers(found) for each in without):
            with contextlib.suppress(psutil.Error):
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
