# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import socket
import threading
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption, ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._conmon.conmon_launch import Pipe
from ansible_collections.longshore.oci.plugins.module_utils._exec import attach as exec_attach
from ansible_collections.longshore.oci.plugins.module_utils._exec.attach import Streams
from ansible_collections.longshore.oci.plugins.module_utils._exec.session_store import SessionPaths
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

PATHS = SessionPaths(Paths("web", state_dir="/s", run_dir="/r"), "one")


@pytest.mark.pure
class TestCommandLine:
    def _argv(self, *, terminal: bool = False, stdin: bool = False, attach: bool = True) -> list[str]:
        return exec_attach.exec_argv(builders.record(), PATHS, terminal=terminal, stdin=stdin, attach=attach)

    def test_the_whole_of_it(self) -> None:
        assert " ".join(self._argv()) == (
            "/usr/bin/conmon --api-version 1 --cid web --cuuid one --name web --runtime /usr/sbin/runc"
            " --bundle /r/containers/web/exec/one.session --container-pidfile /r/containers/web/exec/one.session/pid"
            " --exit-dir /s/containers/web/persist/exec/one --log-path none"
            " --full-attach --persist-dir /r/containers/web/exec/one.session/exits"
            " --runtime-arg=--root --runtime-arg=/run/longshore/runc"
            " --runtime-arg=--log --runtime-arg=/r/containers/web/exec/one.session/runtime.log"
            " --runtime-arg=--log-format --runtime-arg=json"
            " --conmon-pidfile /r/containers/web/exec/one.session/conmon.pid --socket-dir-path /r/containers/web/exec"
            " --log-level error --exec --exec-process-spec /r/containers/web/exec/one.session/process.json --exec-attach"
            " --exit-dir /r/containers/web/exec/one.session/exits --persist-dir /r/containers/web/exec/one.session"
        )

    def test_detached(self) -> None:
        argv = self._argv(attach=False)
        assert "--exec-attach" not in argv
        assert argv[argv.index("--log-path") + 1] == "k8s-file:/s/containers/web/persist/exec/one/output.log"

    def test_a_colon_in_the_path_of_the_log(self) -> None:
        paths = SessionPaths(Paths("web", state_dir="/s:1", run_dir="/r"), "one")
        with pytest.raises(InvalidOption, match=r"cannot write to /s:1/.*/output\.log: conmon splits"):
            exec_attach.exec_argv(builders.record(), paths, terminal=False, stdin=False, attach=False)
        assert exec_attach.exec_argv(builders.record(), paths, terminal=False, stdin=False, attach=True)

    def test_input(self) -> None:
        assert "--stdin" in self._argv(stdin=True)
        assert "--stdin" not in self._argv()
        # conmon would close the terminal together with its input.
        assert {"--stdin", "--terminal"} & set(self._argv(stdin=True, terminal=True)) == {"--terminal"}


class Conmon:
    """The other side of the attach socket, and of the pipe for reports."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory, self.sync, self.received = str(directory), Pipe(), b""
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(f"{directory}/attach")
        self._server.listen(1)
        self._thread: threading.Thread | None = None

    def does(self, act: t.Callable[[Conmon, socket.socket], None]) -> None:
        def run() -> None:
            client, _address = self._server.accept()
            with client:
                act(self, client)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def report(self, code: int) -> None:
        self.sync.theirs.send(b'{"data": %d}\n' % code)

    def close(self) -> None:
        if self._thread:
            self._thread.join()
        for each in (self._server, self.sync.socket, self.sync.theirs):
            each.close()


@pytest.fixture
def conmon(tmp_path: pathlib.Path) -> t.Iterator[Conmon]:
    made = Conmon(tmp_path)
    yield made
    made.close()


def _read_all(conmon: Conmon, client: socket.socket) -> None:
    while data := client.recv(32768):
        conmon.received += data


def _copied(conmon: Conmon, stdin: bytes | None = None, *, terminal: bool = False, seconds: float = 30) -> Streams:
    with Streams(stdin, terminal=terminal) as streams:
        streams.connect(conmon.directory)
        assert streams.copy(conmon.sync, Deadline(seconds)) is True
        return streams


class TestStreams:
    def test_output_is_told_apart(self, conmon: Conmon) -> None:
        def act(conmon: Conmon, client: socket.socket) -> None:
            for packet in (b"\x02a\n", b"\x03b", b"\x02c\x00\xff", b"\x03\n"):
                client.send(packet)
            conmon.report(0)

        conmon.does(act)
        streams = _copied(conmon)
        assert (streams.stdout, streams.stderr) == (b"a\nc\x00\xff", b"b\n")

    @pytest.mark.parametrize("size", [0, 1, 32768, 32769, 1 << 20])
    def test_input_has_an_end(self, conmon: Conmon, size: int) -> None:
        data = os.urandom(size)

        def act(conmon: Conmon, client: socket.socket) -> None:
            _read_all(conmon, client)
            conmon.report(0)

        conmon.does(act)
        _copied(conmon, data)
        assert conmon.received == data

    @pytest.mark.parametrize(("text", "typed"), [(b"", b"\4"), (b"a\n", b"a\n\4"), (b"a", b"a\4\4")])
    def test_the_end_of_input_of_a_terminal(self, conmon: Conmon, text: bytes, typed: bytes) -> None:
        def act(conmon: Conmon, client: socket.socket) -> None:
            conmon.received = client.recv(32768)
            conmon.report(0)

        conmon.does(act)
        _copied(conmon, text, terminal=True)
        assert conmon.received == typed

    def test_output_before_a_reset_is_not_lost(self, conmon: Conmon) -> None:
        """A peer that closes with our input unread resets the connection, and the kernel says that first."""

        def act(conmon: Conmon, client: socket.socket) -> None:
            client.recv(32768)
            for _packet in range(5):
                client.send(b"\x02last words ")
            conmon.report(0)

        conmon.does(act)
        assert _copied(conmon, os.urandom(200_000)).stdout == b"last words " * 5

    def test_a_report_before_the_end_of_output(self, conmon: Conmon) -> None:
        def act(conmon: Conmon, client: socket.socket) -> None:
            conmon.report(0)
            client.send(b"\x02late")

        conmon.does(act)
        assert _copied(conmon).stdout == b"late"

    def test_a_conmon_that_is_killed(self, conmon: Conmon) -> None:
        def act(conmon: Conmon, client: socket.socket) -> None:
            client.send(b"\x02so far")
            conmon.sync.theirs.close()

        conmon.does(act)
        assert _copied(conmon, b"x").stdout == b"so far"
        assert conmon.sync.report(Deadline(0)) == (-1, "")

    def test_the_deadline(self, conmon: Conmon) -> None:
        """Also of a program that never stops talking; and it can be gone on with."""
        silent = threading.Event()

        def act(conmon: Conmon, client: socket.socket) -> None:
            while not silent.is_set():
                client.send(b"\x02" + b"y\n" * 4000)
            conmon.report(0)

        conmon.does(act)
        with Streams(None, terminal=False) as streams:
            streams.connect(conmon.directory)
            assert streams.copy(conmon.sync, Deadline(0.2)) is False
            first = len(streams.stdout)
            assert first > 0
            assert streams.copy(conmon.sync, Deadline(0)) is False
            silent.set()
            assert streams.copy(conmon.sync, Deadline(30)) is True
            assert len(streams.stdout) >= first

    def test_a_path_that_is_too_long_for_a_socket(self, tmp_path: pathlib.Path) -> None:
        deep = tmp_path / ("d" * 100) / ("e" * 100)
        deep.mkdir(parents=True)
        with pytest.raises(OSError, match="too long"), socket.socket(socket.AF_UNIX) as direct:
            direct.bind(f"{deep}/attach")
        descriptor = os.open(deep, os.O_PATH)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server, Streams(None, terminal=False) as streams:
            server.bind(f"/proc/self/fd/{descriptor}/attach")
            os.close(descriptor)
            server.listen(1)
            streams.connect(str(deep))

    def test_nobody_listens(self, tmp_path: pathlib.Path) -> None:
        with Streams(None, terminal=False) as streams, pytest.raises(ProgramFailed, match="cannot attach to conmon"):
            streams.connect(str(tmp_path))
