# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import socket
import stat
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict, InvalidOption, LongshoreError
from ansible_collections.longshore.oci.plugins.module_utils._ports import host_ports
from ansible_collections.longshore.oci.plugins.module_utils._ports.host_ports import Address
from ansible_collections.longshore.oci.tests.unit import builders


def nobody() -> list[t.Any]:
    return []


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", [Address("tcp", None, 8080)]),
        ("8080/udp", [Address("udp", None, 8080)]),
        ("127.0.0.1:8080/tcp", [Address("tcp", "127.0.0.1", 8080)]),
        ("[::1]:53/udp", [Address("udp", "::1", 53)]),
        ("[fe80::1%eth0]:53", [Address("tcp", "fe80::1%eth0", 53)]),
        ("8000-8002/sctp", [Address("sctp", None, port) for port in (8000, 8001, 8002)]),
        ("65535", [Address("tcp", None, 65535)]),
    ],
)
def test_parse_reservation(text: str, expected: list[Address]) -> None:
    assert host_ports.parse_reservation(text) == expected


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is [IP:]PORT"),
        ("web", "it is [IP:]PORT"),
        ("80:80", "80 is not an IP address"),
        ("::1:80", "it is [IP:]PORT"),
        ("localhost:80", "localhost is not an IP address"),
        ("[127.0.0.1]:80", "is not an IP address"),
        ("0", "from 1 to 65535"),
        ("65536", "from 1 to 65535"),
        ("9-8", "must go up"),
        ("80/dccp", "the protocol dccp is none of tcp, udp, sctp"),
        ("80/DCCP", "the protocol dccp"),
        ("80 ", "it is [IP:]PORT"),
    ],
)
def test_what_is_no_reservation(text: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=says.replace("[", r"\[")):
        host_ports.parse_reservation(text)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", Address("tcp", None, 8080)),
        ("web=8080/udp", Address("udp", None, 8080, name="web")),
        ("web=[::1]:80", Address("tcp", "::1", 80, name="web")),
        ("unix:/run/web.sock", Address("unix", path="/run/web.sock")),
        ("a-b.c=unix:/run/x=y", Address("unix", path="/run/x=y", name="a-b.c")),
    ],
)
def test_parse_listen(text: str, expected: Address) -> None:
    assert host_ports.parse_listen(text) == expected


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("80-81", "it needs one port, of tcp or udp"),
        ("80/sctp", "it needs one port, of tcp or udp"),
        ("unix:web.sock", "must be absolute"),
        ("unix:/", "must be absolute"),
        ("unix:/" + 107 * "x", "107 bytes at most"),
        ("a:b=80", "it is [IP:]PORT"),
        ("", "it is [IP:]PORT"),
    ],
)
def test_what_cannot_be_listened_on(text: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=says.replace("[", r"\[")):
        host_ports.parse_listen(text)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("listen", "reserve", "says"),
    [
        ((), ("80", "80/tcp"), "80/tcp is given twice"),
        (("80",), ("79-81",), "80/tcp is given twice"),
        (("a=80", "b=80"), (), "80/tcp is given twice"),
        (2 * ("unix:/x",), (), "/x is given twice"),
        ((), ("[::1]:80", "[0:0::1]:80"), r"\[::1\]:80/tcp is given twice"),
        ((), ("80", "127.0.0.1:80"), r"127\.0\.0\.1:80/tcp overlaps 80/tcp"),
        (("[::1]:80",), ("79-81",), r"80/tcp overlaps \[::1\]:80/tcp"),
        ((), ("127.0.0.1:80", "0.0.0.0:80"), r"0\.0\.0\.0:80/tcp overlaps 127\.0\.0\.1:80/tcp"),
        ((), ("[::]:80", "[::1]:80"), r"\[::1\]:80/tcp overlaps \[::\]:80/tcp"),
    ],
)
def test_nothing_is_asked_for_twice(listen: tuple[str, ...], reserve: tuple[str, ...], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        host_ports.addresses_of(builders.definition(listen=listen, reserve_ports=reserve))


@pytest.mark.pure
def test_ports_beside_one_another() -> None:
    """As the kernel has it: they can all be bound at once."""
    texts = ("80/udp", "127.0.0.1:80/tcp", "127.0.0.2:80/tcp", "[::]:80/tcp", "0.0.0.0:81", "[::1]:81")
    listen, reserve = host_ports.addresses_of(builders.definition(reserve_ports=texts))
    assert (listen, len(reserve)) == ([], len(texts))


@pytest.fixture
def port() -> int:
    """One that is free, for both families."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::", 0))
        return int(probe.getsockname()[1])


def _refused(family: int, kind: int, host: str, port: int, *, reuse: bool = False) -> bool:
    with socket.socket(family, kind) as other:
        if reuse:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            other.bind((host, port))
        except OSError as exc:
            return exc.errno == errno.EADDRINUSE
        return False


class TestReserve:
    @pytest.mark.parametrize(("kind", "number"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
    def test_nobody_else_gets_it(self, port: int, kind: str, number: int) -> None:
        sockets, warnings = host_ports.open_all(builders.definition(reserve_ports=(f"{port}/{kind}",)), nobody)
        with contextlib.ExitStack() as held:
            held.enter_context(sockets[0])
            assert warnings == []
            for family, hosts in ((socket.AF_INET, ("0.0.0.0", "127.0.0.1")), (socket.AF_INET6, ("::", "::1"))):
                for host in hosts:
                    assert _refused(family, number, host, port)
                    assert _refused(family, number, host, port, reuse=kind == "tcp")
        assert not _refused(socket.AF_INET, number, "0.0.0.0", port)

    def test_one_address_only(self, port: int) -> None:
        sockets, _warnings = host_ports.open_all(builders.definition(reserve_ports=(f"127.0.0.1:{port}",)), nobody)
        with sockets[0]:
            assert _refused(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", port)
            assert not _refused(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.2", port)
            assert not _refused(socket.AF_INET6, socket.SOCK_STREAM, "::1", port)

    def test_no_client_is_kept_waiting(self, port: int) -> None:
        sockets, _warnings = host_ports.open_all(builders.definition(reserve_ports=(str(port),)), nobody)
        with sockets[0], socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED

    def test_the_holder_is_named(self, port: int) -> None:
        with socket.create_server(("127.0.0.1", port)):
            for definition in ({"reserve_ports": (str(port),)}, {"listen": (f"127.0.0.1:{port}",)}):
                with pytest.raises(Conflict, match=rf"{port}/tcp is in use by \S+.* \(process {os.getpid()}\)"):
                    host_ports.check_free(builders.definition(**definition), None, nobody)

    def test_a_holder_of_udp(self, port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", port))
            with pytest.raises(Conflict, match=rf"{port}/udp is in use by .*\(process {os.getpid()}\)"):
                host_ports.open_all(builders.definition(reserve_ports=(f"{port}/udp",)), nobody)

    def test_a_container_that_has_it_reserved(self, port: int) -> None:
        """Its socket listens to nobody, so no table of the kernel has it."""
        other = builders.definition(reserve_ports=(f"127.0.0.1:{port}",))
        innocent = builders.definition(reserve_ports=(f"127.0.0.2:{port}",))
        expected = pytest.raises(Conflict, match=f"{port}/tcp is in use by the container db")
        with host_ports.open_all(other, nobody)[0][0], expected:
            definition = builders.definition(reserve_ports=(f"127.0.0.1:{port}",))
            host_ports.check_free(definition, None, lambda: [("cache", innocent), ("db", other)])

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("", "127.0.0.1:"),
            ("0.0.0.0:", "127.0.0.1:"),
            ("127.0.0.1:", ""),
            ("127.0.0.1:", "0.0.0.0:"),
            ("[::1]:", ""),
        ],
    )
    @pytest.mark.parametrize("kind", ["tcp", "udp"])
    def test_a_container_that_wants_more_or_less_of_it(self, port: int, kind: str, before: str, after: str) -> None:
        held, wanted = (builders.definition(reserve_ports=(f"{host}{port}/{kind}",)) for host in (before, after))
        with host_ports.open_all(held, nobody)[0][0]:
            host_ports.check_free(wanted, held, nobody)

    def test_a_container_that_wants_more_than_there_is(self, port: int) -> None:
        held, wanted = (builders.definition(reserve_ports=(f"{host}{port}",)) for host in ("127.0.0.1:", ""))
        expected = pytest.raises(Conflict, match=rf"{port}/tcp is in use by \S+.* \(process {os.getpid()}\)")
        with host_ports.open_all(held, nobody)[0][0], socket.create_server(("127.0.0.2", port)), expected:
            host_ports.check_free(wanted, held, nobody)

    def test_a_look_lets_no_client_in(self, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket.socket, "listen", None)
        host_ports.check_free(builders.definition(listen=(str(port),), reserve_ports=(f"{port}/udp",)), None, nobody)

    @pytest.mark.pure
    def test_a_look_loads_no_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os.path, "exists", lambda path: path != "/proc/net/sctp")
        monkeypatch.setattr(socket, "socket", None)
        host_ports.check_free(builders.definition(reserve_ports=("9/sctp",)), None, nobody)

    def test_what_the_container_has_itself_is_free_for_it(self, port: int) -> None:
        held = builders.definition(reserve_ports=(str(port),))
        with host_ports.open_all(held, nobody)[0][0]:
            host_ports.check_free(held, held, nobody)
            host_ports.check_free(builders.definition(listen=(f"new={port}",)), held, nobody)
            with pytest.raises(Conflict):
                host_ports.check_free(held, None, nobody)

    def test_all_or_none(self, port: int, open_files: t.Callable[[], dict[str, str]]) -> None:
        listen, *reserve = (f"127.0.0.{number}:{port}" for number in (7, 8, 9, 1))
        wanted = builders.definition(listen=(listen,), reserve_ports=reserve)
        with socket.create_server(("127.0.0.1", port)):
            before = open_files()
            with pytest.raises(Conflict, match=rf"127\.0\.0\.1:{port}/tcp is in use"):
                host_ports.open_all(wanted, nobody)
            assert open_files() == before

    def test_an_address_that_is_not_of_this_host(self) -> None:
        with pytest.raises(InvalidOption, match=r"192\.0\.2\.1 is not an address of this host"):
            host_ports.open_all(builders.definition(reserve_ports=("192.0.2.1:80",)), nobody)

    @pytest.mark.pure
    def test_sctp_where_the_kernel_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class NoSctp(socket.socket):
            def __init__(self, family: int = -1, kind: int = -1, protocol: int = -1, fileno: int | None = None) -> None:
                if protocol == socket.IPPROTO_SCTP:
                    raise OSError(errno.EPROTONOSUPPORT, "no")
                super().__init__(family, kind, protocol, fileno)

        monkeypatch.setattr(socket, "socket", NoSctp)
        sockets, warnings = host_ports.open_all(builders.definition(reserve_ports=("9/sctp",)), nobody)
        assert (sockets, warnings) == ([], ["9/sctp is not reserved, because this kernel has no SCTP."])

    def test_without_ipv6(self, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
        class NoIpv6(socket.socket):
            def bind(self, address: t.Any) -> None:
                if self.family == socket.AF_INET6:
                    raise OSError(errno.EADDRNOTAVAIL, "no")
                super().bind(address)

        monkeypatch.setattr(socket, "socket", NoIpv6)
        (reserved,), _warnings = host_ports.open_all(builders.definition(reserve_ports=(str(port),)), nobody)
        with reserved:
            assert reserved.getsockname() == ("0.0.0.0", port)

    @pytest.mark.pure
    def test_too_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_arguments: t.Any) -> socket.socket:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(socket, "socket", full)
        with pytest.raises(LongshoreError, match="80/tcp is not available: Too many open files"):
            host_ports.open_all(builders.definition(reserve_ports=("80",)), nobody)


class TestListen:
    def test_the_listening_ones_come_first(self, port: int, tmp_path: pathlib.Path) -> None:
        wanted = builders.definition(
            reserve_ports=(f"{port}/udp",), listen=(f"unix:{tmp_path}/sock", f"a=127.0.0.1:{port}")
        )
        sockets, _warnings = host_ports.open_all(wanted, nobody)
        with contextlib.ExitStack() as held:
            for opened in sockets:
                held.enter_context(opened)
            assert [opened.family for opened in sockets] == [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6]
            for address, family in ((f"{tmp_path}/sock", socket.AF_UNIX), (("127.0.0.1", port), socket.AF_INET)):
                with socket.socket(family) as client:
                    client.connect(address)
            assert stat.S_IMODE(os.stat(tmp_path / "sock").st_mode) == 0o666

    @pytest.mark.parametrize(("owner", "mode", "fine"), [(0, 0o1777, True), (4242, 0o755, False), (0, 0o777, False)])
    def test_whose_the_directory_is(self, tmp_path: pathlib.Path, owner: int, mode: int, fine: bool) -> None:
        os.chown(tmp_path, owner, 0)
        tmp_path.chmod(mode)
        wanted = builders.definition(listen=(f"unix:{tmp_path}/sock",))
        says = "can be changed by users other than"
        with contextlib.nullcontext() if fine else pytest.raises(InvalidOption, match=says):
            host_ports.check_free(wanted, None, nobody)
        with contextlib.nullcontext() if fine else pytest.raises(InvalidOption, match=says):
            host_ports.open_all(wanted, nobody)[0][0].close()

    def test_the_mode_of_nothing_else_is_changed(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root of a container, who has the directory too, swaps the socket for a link right after it was bound."""
        (tmp_path / "secret").touch(mode=0o600)
        chmod = os.chmod

        def swap(path: t.Any, mode: int, **more: t.Any) -> None:
            if stat.S_ISSOCK(os.lstat(tmp_path / "sock").st_mode):
                os.unlink(tmp_path / "sock")
                os.symlink("secret", tmp_path / "sock")
            chmod(path, mode, **more)

        monkeypatch.setattr(os, "chmod", swap)
        with contextlib.suppress(LongshoreError):
            host_ports.open_all(builders.definition(listen=(f"unix:{tmp_path}/sock",)), nobody)[0][0].close()
        assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600

    @pytest.mark.pure
    def test_a_file_in_its_place(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "secret").touch(mode=0o600)
        (tmp_path / "sock").symlink_to("secret")
        for name in ("secret", "sock"):
            with pytest.raises((LongshoreError, OSError)):
                host_ports.open_to_all(f"{tmp_path}/{name}")
        assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600

    def test_a_socket_that_is_left_over_is_replaced(self, tmp_path: pathlib.Path) -> None:
        wanted = builders.definition(listen=(f"unix:{tmp_path}/sock",))
        for _time in range(2):
            host_ports.check_free(wanted, None, nobody)
            with host_ports.open_all(wanted, nobody)[0][0]:
                pass

    def test_a_path_that_somebody_listens_on(self, tmp_path: pathlib.Path) -> None:
        wanted = builders.definition(listen=(f"unix:{tmp_path}/sock",))
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(f"{tmp_path}/sock")
            other.listen()
            for attempt in (
                lambda: host_ports.check_free(wanted, None, nobody),
                lambda: host_ports.open_all(wanted, nobody),
            ):
                with pytest.raises(Conflict, match="is in use by a listening process"):
                    attempt()
            host_ports.remove_sockets(wanted)
            assert os.path.exists(tmp_path / "sock")
        host_ports.remove_sockets(wanted)
        assert not os.path.exists(tmp_path / "sock")

    @pytest.mark.pure
    @pytest.mark.parametrize(
        ("path", "says"),
        [("/nowhere/sock", "directory of the socket .* does not exist"), ("/etc/passwd", "is not a socket")],
    )
    def test_a_path_that_cannot_be_one(self, path: str, says: str) -> None:
        with pytest.raises(InvalidOption, match=says):
            host_ports.check_free(builders.definition(listen=(f"unix:{path}",)), None, nobody)
        host_ports.remove_sockets(builders.definition(listen=(f"unix:{path}",)))
        assert path != "/etc/passwd" or os.path.exists(path)


@pytest.mark.pure
def test_what_a_launch_that_was_killed_may_keep_is_free_for_the_next() -> None:
    """The conmon of that is in no record yet."""
    definition = builders.definition(reserve_ports=("8080",))
    for phase, wanted in (("creating", definition), ("restoring", definition), ("stopped", None)):
        assert host_ports.replaceable_definition(builders.record(phase=phase, definition=definition)) == wanted
    assert host_ports.replaceable_definition(None) is None
