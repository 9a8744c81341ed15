# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports and command lines as pure functions, what is refused, and how a helper lives and dies."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    DeadlineExceeded,
    InvalidOption,
    LongshoreError,
    MissingPrerequisite,
    ProgramFailed,
    Reason,
)
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import kill_and_wait
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify, is_alive
from ansible_collections.longshore.oci.plugins.module_utils._ports import network_helper
from ansible_collections.longshore.oci.plugins.module_utils._ports.network_helper import Helper
from ansible_collections.longshore.oci.plugins.module_utils._state.model import NetworkHelper
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders, programs

CONFIG = builders.config(linux={"namespaces": [{"type": "pid"}, {"type": "network"}]})


@pytest.fixture
def paths(tmp_path: pathlib.Path) -> Paths:
    found = Paths("web", state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")
    os.makedirs(found.run)
    return found


@pytest.fixture
def search_path(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Programs here are found before the real ones."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


@pytest.mark.pure
def test_the_command_line_of_pasta(paths: Paths, search_path: pathlib.Path) -> None:
    pasta = programs.script(search_path / "pasta", "")
    definition = builders.definition(
        network_helper="pasta", publish=("8080-8081:80-81", "[::1]:53:53/UDP"), network_options=("--mtu", "1400")
    )
    words = network_helper.argv(definition, paths, "4711", ready="1", root=False)
    assert words == [
        pasta, "--foreground", "--quiet", "--config-net", "--no-netns-quit", "--no-map-gw", "--pid", "/proc/self/fd/1",
        "--tcp-ns", "none", "--udp-ns", "none", "--dns-forward", "169.254.1.1", "--tcp-ports", "8080-8081:80-81",
        "--udp-ports", "::1/53:53", "--mtu", "1400", "--userns", "/proc/4711/ns/user", "--netns", "/proc/4711/ns/net",
    ]  # fmt: skip
    as_root = network_helper.argv(definition, paths, "4711", ready="1", root=True)
    assert as_root[1:4] == ["--mount", "/bin/sh", "-c"]
    assert as_root[5:8] == ["4711", paths.network_log, pasta]
    assert as_root[-4:] == ["--runas", "0", "--netns", paths.network_log]


@pytest.mark.pure
def test_a_container_of_an_earlier_release_keeps_its_ports(paths: Paths) -> None:
    definition = builders.definition(network_helper="pasta", publish=("8080-8081:80",))
    words = " ".join(network_helper.argv(definition, paths, "1", ready="1", root=False))
    assert "--tcp-ports 8080-8081:80-81 --udp-ports none" in words


def test_a_range_of_one_side_stays_where_it_is(paths: Paths) -> None:
    definition = builders.definition(network_helper="pasta", publish=("18480-18481:80",))
    network_helper.check(definition, CONFIG, paths, builders.record(definition=definition))
    for recorded in (None, builders.record(), builders.record(definition=definition._replace(publish=("18480:80",)))):
        with pytest.raises(InvalidOption, match="must be of the same length") as caught:
            network_helper.check(definition, CONFIG, paths, recorded)
        assert "18480-18481:80-81/tcp for 2" in caught.value.hint


@pytest.mark.pure
def test_nothing_is_published_unasked(paths: Paths) -> None:
    definition = builders.definition(network_helper="pasta", network_options=("--dns-forward=10.1.1.1",))
    words = " ".join(network_helper.argv(definition, paths, "1", ready="1", root=False))
    assert "--tcp-ports none --udp-ports none --dns-forward=10.1.1.1 --userns" in words


@pytest.mark.pure
def test_the_command_line_of_slirp4netns(paths: Paths, search_path: pathlib.Path) -> None:
    slirp4netns = programs.script(search_path / "slirp4netns", "")
    definition = builders.definition(network_helper="slirp4netns", network_options=("--mtu=1400",))
    words = [
        slirp4netns, "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp",
        "--exit-fd=0", "--ready-fd=7", "--mtu=1400",
    ]  # fmt: skip
    assert network_helper.argv(definition, paths, "4711", ready="7", root=False) == [*words, "4711", "tap0"]
    published = definition._replace(publish=("8080:80",))
    more = ["--api-socket", paths.network_socket]
    assert network_helper.argv(published, paths, "4711", ready="7", root=False) == [*words, *more, "4711", "tap0"]


REFUSED: list[tuple[dict[str, t.Any], str]] = [
    ({"network_helper": "none", "publish": ("8080:80",)}, "publish needs a network_helper"),
    ({"network_helper": "none", "network_options": ("-4",)}, "network_options needs a network_helper"),
    ({"publish": ("80",)}, "publish cannot be '80'"),
    ({"publish": ("8080:80/sctp",)}, "publish cannot be '8080:80/sctp': pasta forwards tcp and udp, and no sctp"),
    (
        {"network_helper": "slirp4netns", "publish": ("8080:80/sctp",)},
        "publish cannot be '8080:80/sctp': slirp4netns forwards tcp and udp, and no sctp",
    ),
    (
        {"publish": ("8080:80", "127.0.0.1:8000-8090:80-170")},
        "publish contains a port of the host twice: 127.0.0.1:8000-8090:80-170",
    ),
    (
        {"publish": ("127.0.0.1:8080-8081:80-81", "127.0.0.2:8081:80")},
        "pasta leads a port to one port of the container at all addresses, as 127.0.0.1:8080-8081:80-81/tcp says",
    ),
    ({"publish": ("198.51.100.7:8080:80",)}, "The address must be one of this host"),
    ({"network_options": ("--netns", "/run/x")}, "network_options cannot have --netns"),
    ({"network_options": ("--tcp-p=80",)}, "network_options cannot have --tcp-p=80"),
    ({"network_options": ("-t80",)}, "network_options cannot have -t80"),
    ({"network_options": ("--",)}, "network_options cannot have --"),
    ({"network_helper": "slirp4netns", "publish": ("[::1]:8080:80",)}, "slirp4netns publishes on IPv4 addresses only"),
]


@pytest.mark.parametrize(("changes", "why"), REFUSED)
def test_what_cannot_work_is_refused(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, changes: dict[str, t.Any], why: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    definition = builders.definition(**{"network_helper": "pasta", **changes})
    with pytest.raises(InvalidOption) as caught:
        network_helper.check(definition, CONFIG, paths, None)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("helper", "publish"),
    [
        ("pasta", ("127.0.0.1:18080:80", "127.0.0.2:18080:80")),
        ("pasta", ("127.0.0.1:18080:80", "127.0.0.2:18080:81/udp")),
        ("slirp4netns", ("127.0.0.1:18080:80", "127.0.0.2:18080:81")),
    ],
)
def test_a_number_at_two_addresses(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, helper: str, publish: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    network_helper.check(builders.definition(network_helper=helper, publish=publish), CONFIG, paths, None)


@pytest.mark.parametrize("options", [(), ("--enable-sandbox", "--enable-seccomp")])
def test_slirp4netns_does_not_run_as_root(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    definition = builders.definition(network_helper="slirp4netns", network_options=options)
    with pytest.raises(InvalidOption, match="slirp4netns cannot be used as root") as caught:
        network_helper.check(definition, CONFIG, paths, None)
    assert "pasta" in caught.value.hint


@pytest.mark.parametrize("names", [["CAP_NET_RAW"], ["CAP_CHOWN", "CAP_NET_ADMIN"], ["CAP_NET_ADMIN", "CAP_NET_RAW"]])
def test_slirp4netns_is_not_for_a_container_that_writes_its_own_packets(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """They would come to the loopback of the host."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    config = {**CONFIG, "process": {**CONFIG["process"], "capabilities": {"bounding": names}}}
    definition = builders.definition(network_helper="slirp4netns")
    with pytest.raises(InvalidOption, match=r"slirp4netns lets a container with CAP_NET_\w+ reach the loopback"):
        network_helper.check(definition, config, paths, None)
    network_helper.check(definition._replace(network_helper=NetworkHelper.PASTA), config, paths, None)
    config["process"]["capabilities"] = {"bounding": ["CAP_CHOWN"]}
    network_helper.check(definition, config, paths, None)


@pytest.mark.parametrize("namespaces", [[], [{"type": "pid"}], [{"type": "network", "path": "/run/netns/blue"}]])
def test_the_container_needs_a_network_of_its_own(paths: Paths, namespaces: list[dict[str, str]]) -> None:
    config = builders.config(linux={"namespaces": namespaces})
    with pytest.raises(InvalidOption, match="needs a container with its own network namespace"):
        network_helper.check(builders.definition(network_helper="pasta"), config, paths, None)


def test_a_socket_has_to_have_a_short_name(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    paths = Paths("w" * 100, state_dir="/x", run_dir=str(tmp_path))
    definition = builders.definition(network_helper="slirp4netns")
    network_helper.check(definition, CONFIG, paths, None)
    with pytest.raises(InvalidOption, match="too long for a socket"):
        network_helper.check(definition._replace(publish=("8080:80",)), CONFIG, paths, None)


@pytest.mark.pure
def test_a_helper_that_is_missing(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_helper, "find_program", lambda _name: None)
    with pytest.raises(MissingPrerequisite, match="The network helper pasta is not on this host"):
        network_helper.check(builders.definition(network_helper="pasta"), CONFIG, paths, None)


@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")])
def test_a_port_that_somebody_has(paths: Paths, kind: int, protocol: str) -> None:
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            holder.listen(1)
        port = holder.getsockname()[1]
        definition = builders.definition(network_helper="pasta", publish=(f"127.0.0.1:{port}:80/{protocol}",))
        with pytest.raises(
            InvalidOption, match=f"The port {port}/{protocol} of 127.0.0.1 of this host cannot be published"
        ):
            network_helper.check(definition, CONFIG, paths, None)
        # It is the very container's own, and will be free; not so where its conmon, and so its helper, is gone.
        record = builders.record(definition=definition)
        network_helper.check(definition, CONFIG, paths, record.replace(monitor=identify(os.getpid())))
        with pytest.raises(InvalidOption, match="cannot be published"):
            network_helper.check(definition, CONFIG, paths, record)
    network_helper.check(definition, CONFIG, paths, None)


@pytest.mark.parametrize(("helper", "refused"), [("pasta", True), ("slirp4netns", False)])
def test_a_port_that_somebody_has_of_ipv6(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, helper: str, refused: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with socket.socket(socket.AF_INET6) as holder:
        holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        holder.bind(("::", 0))
        holder.listen(1)
        port = holder.getsockname()[1]
        definition = builders.definition(network_helper=helper, publish=(f"{port}:80",))
        says = pytest.raises(InvalidOption, match=f"The port {port}/tcp of this host cannot be published")
        with says if refused else contextlib.nullcontext():
            network_helper.check(definition, CONFIG, paths, None)


def test_the_port_of_a_launch_that_was_killed_is_free_for_the_next(paths: Paths, search_path: pathlib.Path) -> None:
    """Its helper lives on with its conmon, until that is swept."""
    programs.script(search_path / "pasta", "")
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen(1)
        definition = builders.definition(network_helper="pasta", publish=(f"{holder.getsockname()[1]}:80",))
        for phase in ("creating", "restoring"):
            network_helper.check(definition, CONFIG, paths, builders.record(phase=phase, definition=definition))
        with pytest.raises(InvalidOption, match="cannot be published"):
            network_helper.check(definition, CONFIG, paths, builders.record(phase="stopped", definition=definition))


class Scripted:
    """A helper that is a script, started for this very process, with what conmon would hold in ``held``."""

    def __init__(self, paths: Paths) -> None:
        record = builders.record(definition=builders.definition(network_helper="pasta"))
        self.placed: list[int] = []
        self.helper = Helper(record, paths, self.placed.append)

    @contextlib.contextmanager
    def running(self, seconds: float = 10) -> t.Iterator[int]:
        """Yields what conmon would inherit."""
        with self.helper as helper:
            held = os.dup(helper.preserved[0])
            try:
                helper.close("held")
                helper.connect(os.getpid(), Deadline(seconds))
                yield held
            finally:
                with contextlib.suppress(OSError):
                    os.close(held)


@pytest.fixture
def script(search_path: pathlib.Path) -> t.Callable[[str], None]:
    def write(text: str) -> None:
        programs.script(search_path / "pasta", text)
        # As any user: nothing is mounted.
        programs.script(search_path / "unshare", 'shift 6\nexec "$@"')
        # Nor is anything changed in the network namespace of this process.
        programs.script(search_path / "nsenter", "")

    return write


def test_it_is_ready_and_dies_with_whoever_holds_its_leash(
    paths: Paths, script: t.Callable[[str], None], open_files: t.Callable[[], dict[str, str]]
) -> None:
    script("echo $$; trap '' TERM; exec sleep 60 >&2")
    scripted, before = Scripted(paths), open_files()
    with scripted.running() as held:
        process = scripted.helper.process
        assert process is not None
        assert scripted.placed == [process.pid]
        assert is_alive(process)
        os.close(held)
        # Signal 0 only waits.
        assert kill_and_wait([process], Deadline(5), 0) == []
    assert open_files() == before


@pytest.mark.parametrize("moment", ["tie", "wait_readable"])
def test_a_task_that_is_killed_as_it_starts_one(
    paths: Paths, script: t.Callable[[str], None], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Before the kernel knows that it goes with conmon, and right after."""
    script(f"echo > {paths.run}/began; exec sh -c 'sleep 60; :' sh {paths.run}")
    scripted = Scripted(paths)

    def be_killed(*_arguments: object) -> t.NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    monkeypatch.setattr(network_helper, moment, be_killed)
    with scripted.helper as helper:
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                helper.close("held")
                helper.connect(os.getppid(), Deadline(10))
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    # Nobody holds the leash any more.
    deadline = Deadline(5)
    while programs.with_word(paths.run) and deadline.remaining():
        time.sleep(0.01)
    assert programs.with_word(paths.run) == []
    assert not os.path.exists(f"{paths.run}/began")


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("echo the tap is broken >&2; exit 1", ProgramFailed, "pasta could not connect the network: the tap is broken"),
        (
            "echo the tap is broken >&2; echo WARNING: Support for seccomp is experimental >&2; exit 1",
            ProgramFailed,
            "pasta could not connect the network: the tap is broken",
        ),
        ("exec sleep 60", DeadlineExceeded, "pasta did not connect the network in time."),
    ],
)
def test_one_that_fails_leaves_nothing(
    paths: Paths, script: t.Callable[[str], None], text: str, kind: type[LongshoreError], why: str
) -> None:
    script(text)
    scripted = Scripted(paths)
    with pytest.raises(kind) as caught, scripted.running(0.5 if kind is DeadlineExceeded else 10):
        pass
    assert caught.value.message == why
    assert "network_log" in caught.value.details
    assert not is_alive(scripted.helper.process)


def test_one_that_comes_too_late_for_conmon(paths: Paths, script: t.Callable[[str], None]) -> None:
    script("echo $$; exec sleep 60 >&2")
    scripted = Scripted(paths)

    def connect() -> None:
        with scripted.helper as helper:
            helper.close("held")
            helper.connect(os.getpid(), Deadline(5))

    with pytest.raises(ProgramFailed, match="conmon ended before the network was connected") as caught:
        connect()
    assert caught.value.reason is Reason.UNREPORTED
    assert not is_alive(scripted.helper.process)


def test_what_it_does_in_the_script_of_a_service(
    paths: Paths, search_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user: the hook, played here by another shell, gets its answer when the helper is ready, and not before."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    programs.script(search_path / "pasta", 'echo "$*" >&2; echo $$; exec sleep 60 >&2')
    programs.script(search_path / "nsenter", 'echo "$*" >&2; echo "1: lo: <UP>"; echo "2: eth0@if3: <UP>"')
    record = builders.record(definition=builders.definition(network_helper="pasta", service=True))
    parts = network_helper.script(record, paths, 1)
    assert parts["connect"] == ""
    text = f"set -u\n{parts['network']}exec 9>&-\n{parts['before']}echo 4711 >{paths.network_asks}; read -r _ <{paths.network_answer}"
    subprocess.run(["/bin/sh", "-c", text], check=True, timeout=10, stdin=subprocess.DEVNULL)
    with open(paths.network_pidfile, encoding="ascii") as stream:
        process = identify(int(stream.read()))
    assert process is not None
    assert kill_and_wait([process], Deadline(5)) == []
    with open(paths.network_log, encoding="utf-8") as stream:
        said = stream.read()
    assert "--userns /proc/4711/ns/user" in said
    assert "--user --net --target=4711" in said
    assert "table local metric 1 dev eth0\n" in said
    assert "dev lo" not in said


HEADER = "Iface\tDestination\tGateway\tFlags\n"
IPV6_LO = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
# /proc/net/route, /proc/net/ipv6_route (None: no IPv6), and whether there is a default route
ROUTES: list[tuple[str, str | None, bool]] = [
    ("", None, False),
    (HEADER, IPV6_LO, False),
    (f"{HEADER}eth0\t0001A8C0\t00000000\t0001\n", IPV6_LO, False),
    (f"{HEADER}eth0\t0001A8C0\t00000000\t0001\neth0\t00000000\t0101A8C0\t0003\n", None, True),
    (HEADER, f"{IPV6_LO}{IPV6_LO.replace('      lo', '    eth0')}", True),
    (
        HEADER,
        f"fe80{'0' * 28} 40 {'0' * 32} 00 {'0' * 32} 00000100 00000001 00000000 00000001     eth0\n{IPV6_LO}",
        False,
    ),
    # The half of all addresses is not a default route.
    (HEADER, IPV6_LO.replace(" 00 ", " 01 ", 1).replace("      lo", "    eth0"), False),
]


@pytest.mark.parametrize(("ipv4", "ipv6", "routed"), ROUTES)
@pytest.mark.parametrize(("age", "waits"), [(10, True), (299, True), (301, False), (90000, False)])
def test_a_service_waits_for_a_default_route_at_boot(
    paths: Paths, tmp_path: pathlib.Path, ipv4: str, ipv6: str | None, routed: bool, age: int, waits: bool
) -> None:
    """A user has no unit that waits for it. A host that has been up for long may have none at all."""
    record = builders.record(definition=builders.definition(network_helper="pasta", service=True))
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/1").mkdir()
    (tmp_path / "proc/net/route").write_text(ipv4)
    if ipv6 is not None:
        (tmp_path / "proc/net/ipv6_route").write_text(ipv6)
    # A host that is a container has the uptime of another, and a PID 1 of its own.
    (tmp_path / "proc/uptime").write_text(f"{5000 + age}.25 123.00\n")
    (tmp_path / "proc/1/stat").write_text(f"1 (a) b) S {' '.join('0' * 18)} 500000 7 8\n")
    text = network_helper.script(record, paths, 1)["network"].replace("/proc/", f"{tmp_path}/proc/")
    text = text.replace("sleep 1;", "echo waits;").partition("    { ")[0] + "}\nnetwork\n"
    done = subprocess.run(["/bin/sh", "-uc", text], timeout=10, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("waits\n" if waits and not routed else "", "")


def test_one_that_fails_in_the_script_of_a_service(
    paths: Paths, search_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    programs.script(search_path / "unshare", "echo no tap >&2; exit 1")
    record = builders.record(definition=builders.definition(network_helper="pasta", service=True))
    parts = network_helper.script(record, paths, 1)
    assert parts["before"] == ""
    text = f"{parts['network']}report='{{\"data\": 4711}}'; {parts['connect']}echo started"
    done = subprocess.run(["/bin/sh", "-c", text], timeout=10, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no tap\n")
