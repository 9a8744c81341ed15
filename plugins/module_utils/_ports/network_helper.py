# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""slirp4netns and pasta: programs that connect the network namespace of a container with the host, without privileges.

A helper lives as long as conmon has the other end of a pipe (the leash), which conmon closes when the container has ended. No
program has to watch this: the kernel then sends the helper a signal (F_SETSIG), so it always ends together with conmon.

pasta closes all inherited descriptors except the first three. So the leash is its standard input, and it writes its pid to
standard output when it is ready.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import socket
import subprocess
import typing as t

from .._base.deadline import Deadline, wait_readable
from .._base.errors import DeadlineExceeded, InvalidOption, MissingPrerequisite, ProgramFailed, Reason, reason_of
from .._base.files import read_tail, remove_file
from .._base.process import ProcessId, identify, is_alive
from .._base.program import clean_environment, find_program, tie
from .._config.namespaces import namespaces_of
from .._conmon.conmon_launch import Pipe, private
from .._state.model import Definition, NetworkHelper, Record
from .._state.phase import Phase
from .._state.store import Paths
from . import host_loopback
from .address import Ports, PublishedPort, invalid, parse_published, recorded_port

_DEVICE = "/dev/net/tun"
# The addresses whose DNS queries the helpers forward to the host's resolver. That of slirp4netns is fixed by its network, 10.0.2.0/24.
_PASTA_RESOLVER = "169.254.1.1"
# Options that only Longshore may set, because other code depends on them.
_OURS = {
    NetworkHelper.SLIRP4NETNS: (
        "--configure", "-c", "--exit-fd", "-e", "--ready-fd", "-r", "--api-socket", "-a", "--netns-type", "--userns-path",
        "--target-type", "--help", "-h", "--version", "-v",
    ),
    NetworkHelper.PASTA: (
        "--foreground", "-f", "--pid", "-P", "--tcp-ports", "-t", "--udp-ports", "-u", "--userns", "--netns", "--netns-only",
        "--no-netns-quit", "--log-file", "-l", "--fd", "-F", "--runas", "--config-net", "--help", "-h", "--version",
    ),
}  # fmt: skip
# In its own mount namespace, without privileges except for low ports, and with few system calls. slirp4netns has both since 0.4.
_SANDBOX = ("--enable-sandbox", "--enable-seccomp")
# A pid that is not known yet, in the command line of a script: of characters that are not quoted.
_LATER = "@PID@"


def check(definition: Definition, config: t.Mapping[str, t.Any], paths: Paths, recorded: Record | None) -> None:
    """Raises InvalidOption for impossible options, MissingPrerequisite for what the host lacks. Ports of the
    ``recorded`` container are free when it is replaced."""
    helper, name = definition.network_helper, definition.network_helper.value
    known = [recorded_port(text) for text in recorded.definition.publish] if recorded else []
    published = [parse_published(text, known) for text in definition.publish]
    if helper is NetworkHelper.NONE:
        raise InvalidOption(f"{'publish' if published else 'network_options'} needs a network_helper.")
    if find_program(name) is None:
        hint = "The role longshore.oci.runtime installs it."
        raise MissingPrerequisite(f"The network helper {name} is not on this host.", hint=hint)
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        hint = "Check that the kernel module tun is loaded."
        raise MissingPrerequisite(f"{name} needs {_DEVICE}, which this user cannot use.", hint=hint)
    if namespaces_of(config).get("network") != "":
        hint = "linux.namespaces in its config.json has none of the type network, or one with a path."
        raise InvalidOption(f"network_helper: {name} needs a container with its own network namespace.", hint=hint)
    _check_options(helper, definition.network_options)
    host_loopback.check(name)
    for text, ports in zip(definition.publish, published):
        if ports.protocol == "sctp":
            hint = "Use a network of oci_network."
            raise invalid("publish", text, f"{name} forwards tcp and udp, and no sctp", hint)
    if helper is NetworkHelper.SLIRP4NETNS:
        _check_slirp4netns(definition, config, published, paths)
    for number, ports in enumerate(published):
        _check_other_ports(helper, ports, published[:number], definition.publish[number])
    # The helper of a launch that was killed ends with its conmon, which no record tells of yet.
    has = recorded and (recorded.phase in (Phase.CREATING, Phase.RESTORING) or is_alive(recorded.monitor))
    ours = known if has else []
    for ports in published:
        for number in range(ports.port, ports.last + 1):
            source = ports.source._replace(first=number, last=number)
            if not any(source.overlaps(other.source) for other in ours):
                _check_port(source, helper)


def _check_other_ports(helper: NetworkHelper, ports: PublishedPort, others: list[PublishedPort], text: str) -> None:
    for other in others:
        if ports.source.overlaps(other.source):
            raise InvalidOption(f"publish contains a port of the host twice: {text}.")
        same_number = ports.source._replace(host=None).overlaps(other.source)
        if helper is NetworkHelper.PASTA and same_number and ports.target - ports.port != other.target - other.port:
            # It keeps one target for each number. The last one on its command line would be that of all addresses.
            raise invalid(
                "publish", text, f"pasta leads a port to one port of the container at all addresses, as {other} says"
            )


def _check_options(helper: NetworkHelper, options: t.Sequence[str]) -> None:
    for word in options:
        name = word.partition("=")[0]
        # Long options may be abbreviated, and short ones may be followed directly by their value.
        long = name.startswith("--")
        if any(ours.startswith(name) if long else ours == name[:2] for ours in _OURS[helper]):
            raise InvalidOption(f"network_options cannot have {word}: Longshore sets this option of {helper.value}.")


def _check_slirp4netns(
    definition: Definition, config: t.Mapping[str, t.Any], published: t.Sequence[PublishedPort], paths: Paths
) -> None:
    if os.geteuid() == 0:
        # It would read packets of the container with all rights. Its --enable-sandbox is no way out: tried with 1.2.0, it makes
        # only / private before it detaches all of it, and mounts below other shared mounts (/run/netns) are gone from the host too.
        message = (
            "slirp4netns cannot be used as root, because it would read packets of the container without a sandbox."
        )
        raise InvalidOption(message, hint="Use network_helper: pasta, or a network of oci_network.")
    rights = (config.get("process") or {}).get("capabilities") or {}
    raw = sorted({"CAP_NET_ADMIN", "CAP_NET_RAW"} & {*(rights.get("bounding") or ())})
    if raw:
        # libslirp connects to whatever address a packet names, 127.0.0.1 too: --disable-host-loopback is about 10.0.2.2 only.
        hint = f"Use network_helper: pasta, or remove {' and '.join(raw)} from the container."
        raise InvalidOption(f"slirp4netns lets a container with {raw[0]} reach the loopback of this host.", hint=hint)
    if any(":" in (ports.ip or "") for ports in published):
        raise InvalidOption("slirp4netns publishes on IPv4 addresses only.", hint="Use network_helper: pasta.")
    if published and len(os.fsencode(paths.network_socket)) > 107:
        raise InvalidOption(f"{paths.network_socket} is too long for a socket (107 bytes).", hint="Shorten the name.")


def _check_port(port: Ports, helper: NetworkHelper) -> None:
    from .host_ports import Address, bound

    # Without an address, pasta also uses those of IPv6, if available.
    host = port.host or (None if helper is NetworkHelper.PASTA else "0.0.0.0")
    try:
        opened = bound(Address(port.protocol, host, port.first), reuse=True, listening=False)
        if opened is None:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        opened.close()
    except OSError as exc:
        hints = {
            errno.EADDRINUSE: f"To find the process: ss --listening --processes --{port.protocol} 'sport = :{port.first}'",
            errno.EACCES: "Ports below net.ipv4.ip_unprivileged_port_start (sysctl) are reserved for root.",
            errno.EADDRNOTAVAIL: "The address must be one of this host.",
        }
        where = f"{port.first}/{port.protocol}" + (f" of {port.host}" if port.host else "")
        hint = hints.get(exc.errno or 0, "")
        raise InvalidOption(f"The port {where} of this host cannot be published: {reason_of(exc)}.", hint=hint) from exc


def argv(definition: Definition, paths: Paths, pid: str, *, ready: str, root: bool) -> list[str]:
    """Return the command line of the helper for the namespaces of a process. ``ready`` is the descriptor for its readiness."""
    program = find_program(definition.network_helper.value) or definition.network_helper.value
    if definition.network_helper is NetworkHelper.SLIRP4NETNS:
        words = [program, "--configure", "--mtu=65520", "--disable-host-loopback", *(() if root else _SANDBOX)]
        words += ["--exit-fd=0", f"--ready-fd={ready}", *definition.network_options]
        words += ["--api-socket", paths.network_socket] if definition.publish else []
        return [*words, pid, "tap0"]
    words = [program, "--foreground", "--quiet", "--config-net", "--no-netns-quit", "--no-map-gw"]
    words += ["--pid", f"/proc/self/fd/{ready}", "--tcp-ns", "none", "--udp-ns", "none"]
    if not any(word.startswith("--dns-forward") for word in definition.network_options):
        words += ["--dns-forward", _PASTA_RESOLVER]
    for protocol in ("tcp", "udp"):
        ours = [ports for ports in map(recorded_port, definition.publish) if ports.protocol == protocol]
        specs = [
            f"{ports.ip}/{ports.host_range}:{ports.target_range}"
            if ports.ip
            else f"{ports.host_range}:{ports.target_range}"
            for ports in ours
        ]
        words += [word for spec in specs or ["none"] for word in (f"--{protocol}-ports", spec)]
    words += definition.network_options
    if not root:
        return [*words, "--userns", f"/proc/{pid}/ns/user", "--netns", f"/proc/{pid}/ns/net"]
    # As root, pasta first drops the permission to read /proc/PID/ns. So the namespace is mounted on a file, in a mount namespace
    # that ends with pasta.
    place = 'mount -o bind "/proc/$0/ns/net" "$1" && shift && exec "$@"'
    before = [find_program("unshare") or "unshare", "--mount", "/bin/sh", "-c", place, pid, paths.network_log]
    return [*before, *words, "--runas", "0", "--netns", paths.network_log]


# It becomes the helper only after it is tied to conmon, so a task that is killed before leaves no helper.
_GATE = ("/bin/sh", "-c", 'gate=$1; shift; read -r _ <"$gate" || exit; exec "$@"', "sh")


class Helper:
    """The helper for a new container, as a context manager.

    Only root can access the namespaces of a container before its start with every runtime: crun hides its first process until
    then. For other users, the container has a hook (``config.effective``), which writes its pid and waits until its namespaces
    are connected.
    """

    def __init__(self, record: Record, paths: Paths, place: t.Callable[[int], None]) -> None:
        self._record, self._paths, self._place = record, paths, place
        self._open: dict[str, int] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self.process: ProcessId | None = None

    def __enter__(self) -> Helper:
        self._open["leash"], self._open["held"] = os.pipe()
        if os.geteuid() != 0:
            paths = {"asks": self._paths.network_asks, "answer": self._paths.network_answer}
            for name, path in paths.items():
                os.mkfifo(path, 0o600)
                # Open it for both directions, so that this does not block.
                self._open[name] = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        if kind is not None and self._child is not None:
            self._child.kill()
            self._child.wait()
        for name in list(self._open):
            self.close(name)

    def close(self, name: str) -> None:
        """Close one of its descriptors: ``held`` as soon as conmon has inherited it."""
        os.close(self._open.pop(name))

    @property
    def preserved(self) -> list[int]:
        """Return the descriptors that conmon inherits."""
        return [self._open["held"]]

    def answer(self, sync: Pipe, deadline: Deadline) -> None:
        """Wait for the hook, start the helper and let the hook continue. Return when conmon reports something else. As root, do
        nothing."""
        self.close("held")
        asks = self._open.get("asks")
        while asks is not None and self._child is None and not sync.complete():
            ready = sync.wait(deadline, asks)
            if asks in ready:
                self.connect(int(os.read(asks, 100)), deadline)
                os.write(self._open["answer"], b"\n")
            elif ready:
                sync.receive()
            else:
                break

    def connect(self, pid: int, deadline: Deadline) -> None:
        """Start the helper for the namespaces of a process, if it does not run yet, and wait until it is ready."""
        if self._child is not None:
            return
        helper = self._record.definition.network_helper
        try:
            self._spawn(pid, deadline)
            host_loopback.close(helper.value, pid, deadline)
            if helper is NetworkHelper.SLIRP4NETNS and self._record.definition.publish:
                _publish(self._paths.network_socket, self._record.definition.publish, deadline)
        except (ProgramFailed, DeadlineExceeded) as exc:
            # slirp4netns warns that its seccomp is experimental, sometimes after the error.
            log = [line for line in read_tail(self._paths.network_log) if "seccomp is experimental" not in line]
            said = f": {log[-1]}" if log else "."
            reason = {"reason": exc.reason} if isinstance(exc, ProgramFailed) else {}
            raise type(exc)(f"{exc.message}{said}", hint=exc.hint, network_log=log, **reason) from exc

    def _spawn(self, pid: int, deadline: Deadline) -> None:
        definition, pasta = self._record.definition, self._record.definition.network_helper is NetworkHelper.PASTA
        ready, says = os.pipe()
        gate, opener = os.pipe()
        with open(ready, "rb", buffering=0) as stream, open(opener, "wb", buffering=0) as go_on:
            words = argv(definition, self._paths, str(pid), ready="1" if pasta else str(says), root=os.geteuid() == 0)
            try:
                with open(self._paths.network_log, "ab", opener=private) as log:
                    self._child = subprocess.Popen(
                        [*_GATE, f"/proc/self/fd/{gate}", *words], cwd="/", env=clean_environment(), stdin=self._open["leash"],
                        stdout=says if pasta else log, stderr=log, pass_fds=(gate,) if pasta else (gate, says), start_new_session=True,
                    )  # fmt: skip
            except (OSError, ValueError) as exc:  # ValueError: a NUL in an option
                raise ProgramFailed(f"Cannot run {words[0]} ({reason_of(exc)})") from exc
            finally:
                os.close(says)
                os.close(gate)
            self.process = identify(self._child.pid)
            tie(self._open["leash"], self._child.pid)
            if wait_readable([self._open["leash"]], Deadline(0)):
                raise ProgramFailed("conmon ended before the network was connected", reason=Reason.UNREPORTED)
            self._place(self._child.pid)
            with contextlib.suppress(OSError):  # It has ended, which the code below reports.
                go_on.write(b"\n")
            if not wait_readable([ready], deadline):
                raise DeadlineExceeded(f"{definition.network_helper.value} did not connect the network in time")
            if not stream.read(100):
                raise ProgramFailed(f"{definition.network_helper.value} could not connect the network")


def _publish(path: str, published: t.Iterable[str], deadline: Deadline) -> None:
    """Send the ports to slirp4netns, which accepts one request in a connection. Then remove the socket, so that no other process
    can use it."""
    for text in published:
        ports = recorded_port(text)
        for number in range(ports.port, ports.last + 1):
            arguments = {
                "proto": ports.protocol, "host_addr": ports.ip or "0.0.0.0", "host_port": number,
                "guest_port": ports.target + number - ports.port,
            }  # fmt: skip
            answer = _ask(path, {"execute": "add_hostfwd", "arguments": arguments}, deadline)
            if "error" in answer:
                raise ProgramFailed(
                    f"slirp4netns could not publish the port {number}/{ports.protocol} of this host"
                    f" ({(answer['error'] or {}).get('desc')})",
                    hint="Another process may have taken it.",
                )
    remove_file(path)


def _ask(path: str, request: t.Mapping[str, t.Any], deadline: Deadline) -> dict[str, t.Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(deadline.remaining() + 0.001)
        try:
            connection.connect(path)
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
            return dict(json.loads(answer))
        except (OSError, ValueError) as exc:
            raise ProgramFailed(f"slirp4netns does not answer ({reason_of(exc)})") from exc


# Started as the first half of a pipe, of which the other half reads only the first line: the helper's pid, when it is ready.
# pasta copies the routes of the host. At boot, the host may have none yet: for a user, no unit waits for the network (systemd
# issue 3312). A host that has been up for long may have no default route at all. PID 1 knows the age of a host, also of one that
# is a container.
_SCRIPT = """\
routed() {{
    while read -r device destination rest; do test "$destination" != 00000000 || return 0; done </proc/net/route
    test -e /proc/net/ipv6_route || return 1
    while read -r destination length rest; do
        case $destination/$length/$rest in *lo) ;; {nowhere}/00/*) return 0 ;; esac
    done </proc/net/ipv6_route
    return 1
}}
booting() {{
    read -r up rest </proc/uptime
    set -- $(sed 's/.*) //' /proc/1/stat)
    test "$((${{up%.*}} - ${{20-0}} / 100))" -lt 300
}}
network() {{
    left={patience}
    while test "$left" -gt 0 && booting && ! routed; do sleep 1; left=$((left - 1)); done
    {{ {argv} 2>>{log} </dev/null & }} | {{ read -r helper && echo "$helper" >{pidfile}; }} || {{ cat {log} >&2; return 1; }}
    {{ {loopback}; }} 2>>{log} || {{ cat {log} >&2; return 1; }}
}}
"""
_ASKED = """\
mkfifo {asks} {answer} || exit
    {{ exec 9>&-; read -r pid <{asks}; if network; then echo >{answer}; else : >{answer}; fi; }} &
    """


def script(record: Record, paths: Paths, patience: int) -> dict[str, str]:
    """Return parts of the script of a service (service_unit.py): a function, commands before conmon, and commands before the start.
    At boot, pasta waits ``patience`` seconds for a default route. systemd ends the helper together with conmon, the main process of the unit."""
    root = os.geteuid() == 0
    words = shlex.join(argv(record.definition, paths, _LATER, ready="1", root=root)).replace(_LATER, '"$pid"')
    quoted = {name: shlex.quote(getattr(paths, f"network_{name}")) for name in ("log", "pidfile", "asks", "answer")}
    found = "pid=${report#*: } && pid=${pid%%[!0-9]*} && network || exit; "
    network = _SCRIPT.format(
        argv=words, loopback=host_loopback.script(_LATER), patience=patience, nowhere="0" * 32, **quoted
    )  # fmt: skip
    before = "" if root else _ASKED.format(**quoted)
    return {"network": network, "before": before, "connect": found if root else ""}
