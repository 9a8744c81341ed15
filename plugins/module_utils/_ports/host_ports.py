# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of the host that belong to a container while it lives: reserved ports, and listening sockets.

This task opens the sockets, and conmon inherits them. conmon closes them after the container has ended, before it writes the
exit file (conmon, close_fds.c), and the kernel does so when conmon ends. So no cleanup is needed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import typing as t

from .._base.errors import Conflict, InvalidOption, LongshoreError, MissingPrerequisite, reason_of
from .._base.files import remove_file
from .._base.process import is_alive
from .._config.config import listen_name
from .._state.model import Definition, NetworkHelper, Record
from .._state.phase import Phase
from .._trust import trust
from .address import Ports, invalid, parse_ports

_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP), "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}  # fmt: skip
_NOT_IN_KERNEL = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
_BACKLOG = 4096  # as in systemd; the kernel limits it to net.core.somaxconn
# Names and definitions of the containers with ports now, for error messages.
Containers = t.Callable[[], t.Iterable[tuple[str, Definition]]]


class Address(t.NamedTuple):
    """The address of a socket. ``host`` None: all addresses, of IPv4 and IPv6. ``path``: of a Unix socket."""

    kind: str  # tcp, udp, sctp or unix
    host: str | None = None
    port: int = 0
    path: str = ""
    name: str = ""  # for LISTEN_FDNAMES

    @property
    def ports(self) -> Ports:
        return Ports(self.kind, self.host, self.port, self.port)

    def __str__(self) -> str:
        return self.path or str(self.ports)

    def covers(self, other: Address) -> bool:
        """Tell whether this address includes the other one completely."""
        return self.path == other.path and self.ports.covers(other.ports)

    def overlaps(self, other: Address) -> bool:
        """Return whether the two cannot be bound at once."""
        return self.path == other.path and self.ports.overlaps(other.ports)


def parse_reservation(text: str, what: str = "reserve_ports") -> list[Address]:
    """Parse ``8080``, ``127.0.0.1:8080/tcp``, ``[::1]:53/udp`` or ``8000-8010/tcp``. Return an address for each port. Raises
    InvalidOption."""
    protocol, host, first, last = parse_ports(what, text)
    return [Address(protocol, host, port) for port in range(first, last + 1)]


def parse_listen(text: str) -> Address:
    """Parse ``8080/tcp``, ``[::1]:53/udp`` or ``unix:/run/web.sock``, optionally with ``NAME=`` in front. Raises InvalidOption."""
    name = listen_name(text)
    rest = text[len(name) + 1 :] if name else text
    if not rest.startswith("unix:"):
        addresses = parse_reservation(rest, "listen")
        if len(addresses) > 1 or addresses[0].kind == "sctp":
            raise invalid("listen", text, "it needs one port, of tcp or udp")
        return addresses[0]._replace(name=name)
    path = rest[len("unix:") :]
    if not path.startswith("/") or not 2 <= len(os.fsencode(path)) <= 107:
        raise InvalidOption(f"{path!r} cannot be the path of a socket: it must be absolute, with 107 bytes at most.")
    return Address("unix", path=path, name=name)


def addresses_of(definition: Definition) -> tuple[list[Address], list[Address]]:
    """Return the addresses to listen on and those to reserve. Raises InvalidOption, also for one that is there twice."""
    listen = [parse_listen(text) for text in definition.listen]
    reserve = [address for text in definition.reserve_ports for address in parse_reservation(text)]
    seen: dict[tuple[str, int, str], list[Address]] = {}
    for address in (*listen, *reserve):
        same = seen.setdefault((address.kind, address.port, address.path), [])
        for other in filter(address.overlaps, same):
            what = "is given twice" if address.host == other.host else f"overlaps {other}"
            raise InvalidOption(f"{address} {what} (reserve_ports, listen).")
        same.append(address)
    return listen, reserve


def active_definition(record: Record | None) -> Definition | None:
    """Return the definition whose ports conmon of a container has now; None if conmon has ended."""
    return without_forwarded(record.definition) if record and is_alive(record.monitor) else None


def replaceable_definition(recorded: Record | None) -> Definition | None:
    """Return the definition whose ports are free as soon as a container is replaced. A killed launch has ports too, before its
    conmon is in the record."""
    launching = recorded is not None and recorded.phase in (Phase.CREATING, Phase.RESTORING)
    return without_forwarded(recorded.definition) if recorded and launching else active_definition(recorded)


def without_forwarded(definition: Definition) -> Definition:
    """Return a definition without ports that the network helper binds itself, because a reservation would block the helper."""
    return definition if definition.network_helper is NetworkHelper.NONE else definition._replace(reserve_ports=())


def check_free(definition: Definition, current: Definition | None, others: Containers) -> None:
    """Try every address, and give it back at once. Raises Conflict, or InvalidOption for what is none of this host.

    ``current`` is what conmon of the container itself has at the moment.
    """
    listen, reserve = addresses_of(definition)
    ours = [address for some in (addresses_of(current) if current else ()) for address in some]
    for address, listening in [(each, True) for each in listen] + [(each, False) for each in reserve]:
        own = [each for each in ours if each.overlaps(address)]
        if any(each.covers(address) for each in own):
            continue
        if address.kind == "unix":
            _check_path(address.path)
        elif own:
            # It cannot be tried while the container holds a part of it.
            with contextlib.suppress(ImportError):
                who = _process_at(address, own)
                if who:
                    raise _in_use(address, who)
        else:
            check_socket(address, listening=listening, others=others)


def check_socket(address: Address, *, listening: bool, others: Containers) -> None:
    """Check like open_socket(), without a moment in which a client could connect."""
    if address.kind == "sctp" and not os.path.exists("/proc/net/sctp"):
        return  # No socket can exist, and a check would load the module.
    opened = open_socket(address, listening=listening, others=others, trying=True)
    if opened is not None:
        opened.close()


def open_all(definition: Definition, others: Containers) -> tuple[list[socket.socket], list[str]]:
    """Listening sockets first, then the reserved ones; and warnings. All or none: on failure nothing stays open."""
    listen, reserve = addresses_of(definition)
    warnings = []
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(_must(open_socket(each, listening=True, others=others))) for each in listen]
        for address in reserve:
            reserved = open_socket(address, listening=False, others=others)
            if reserved is None:
                warnings.append(f"{address} is not reserved, because this kernel has no {address.kind.upper()}.")
            else:
                sockets.append(opened.enter_context(reserved))
        opened.pop_all()
    return sockets, warnings


def _must(opened: socket.socket | None) -> socket.socket:
    if opened is None:
        raise MissingPrerequisite("This kernel does not support such sockets.")
    return opened


def open_socket(address: Address, *, listening: bool, others: Containers, trying: bool = False) -> socket.socket | None:
    """Open a socket, or return None if the kernel does not support the protocol. With ``trying``, only bind it."""
    try:
        if address.kind == "unix":
            return _open_unix(address.path)
        return bound(address, reuse=listening, listening=listening and not trying)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise _in_use(address, _holder(address, others())) from exc
        if exc.errno == errno.EADDRNOTAVAIL:
            raise InvalidOption(f"{address} is not available: {address.host} is not an address of this host.") from exc
        raise LongshoreError(f"{address} is not available: {reason_of(exc)}.") from exc


def _in_use(address: Address, who: str) -> Conflict:
    return Conflict(f"{address} is in use{who}.", hint="Choose another port, or stop the program that uses it.")


def bound(address: Address, *, reuse: bool, listening: bool) -> socket.socket | None:
    """Return a bound socket. Reserved ones do not listen and have no SO_REUSEADDR, so that no other process can bind the port, and
    clients are refused."""
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
            # A sysctl may disable IPv6, although its sockets can be created.
            if last or exc.errno != errno.EADDRNOTAVAIL:
                raise
    return None


def _check_path(path: str) -> None:
    """Remove the socket of an earlier run. Refuse a socket in use, and any other file."""
    if not os.path.isdir(os.path.dirname(path)):
        raise InvalidOption(f"The directory of the socket {path} does not exist.")
    trust.check(path, "The socket", entry=True, missing=True)
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise InvalidOption(f"{path} exists, and is not a socket.", hint="Choose another path, or remove it.")
    if not _is_left(path):
        raise Conflict(f"{path} is in use by a listening process.", hint="Choose another path, or stop that process.")


def _is_left(path: str) -> bool:
    """Tell whether no process listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:  # a full backlog, or a socket of another kind: it is in use
            pass
    return False


def _open_unix(path: str) -> socket.socket:
    _check_path(path)
    remove_file(path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(opened.fileno(), 0o600)  # The file gets this mode, so that no client connects too early.
        opened.bind(path)
        open_to_all(path)
        opened.listen(_BACKLOG)
    except BaseException:
        opened.close()
        raise
    return opened


def open_to_all(path: str) -> None:
    """Allow every client, as systemd does by default (SocketMode=). The directory can restrict access. Do not change the mode of
    another file, even if a container has replaced the path."""
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(found)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            raise LongshoreError(f"The socket {path} was replaced during its creation.")
        os.chmod(f"/proc/self/fd/{found}", 0o666)
    finally:
        os.close(found)


def remove_sockets(definition: Definition) -> None:
    """Remove the files of Unix sockets, which outlive their sockets."""
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
    """Describe the user of a port. The kernel does not list bound sockets that do not listen, so search the containers too."""
    for name, definition in containers:
        if any(each.overlaps(address) for some in addresses_of(definition) for each in some):
            return f" by the container {name}"
    try:
        who = _process_at(address, ())
    except ImportError:
        return " (with python3-psutil on the host, this error would name the process)"
    return who or " (by another user, or by a connection that has just ended, for up to a minute)"


def _process_at(address: Address, without: t.Collection[Address]) -> str:
    """Describe a process that uses a port, except at some addresses. Empty if there is none, or no visible one.

    Raises ImportError if psutil is missing.
    """
    import psutil

    for connection in psutil.net_connections(kind=address.kind) if address.kind != "sctp" else ():
        free = address.kind == "tcp" and connection.status != psutil.CONN_LISTEN
        if free or not connection.laddr or connection.laddr.port != address.port or not connection.pid:
            continue
        # A socket at :: usually accepts IPv4 as well.
        host = None if connection.laddr.ip == "::" else connection.laddr.ip
        found = Address(address.kind, host, address.port)
        if found.overlaps(address) and not any(each.covers(found) for each in without):
            with contextlib.suppress(psutil.Error):
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
