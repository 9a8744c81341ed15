# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.deadline import Deadline
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import DeadlineExceeded, ProgramFailed
from ansible_collections.longshore.oci.plugins.module_utils._base.pidfd import PidFd
from ansible_collections.longshore.oci.plugins.module_utils._base.process import identify
from ansible_collections.longshore.oci.plugins.module_utils._container import sd_notify
from ansible_collections.longshore.oci.tests.unit import builders, programs


class TestReadySocket:
    @staticmethod
    def _send(path: pathlib.Path, *messages: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            for message in messages:
                sender.sendto(message.encode(), str(path))

    def test_ready_in_time(self, tmp_path: pathlib.Path, spawn: t.Any) -> None:
        record = builders.record(init=identify(spawn().pid))
        with sd_notify.ReadySocket(f"{tmp_path}/sock") as ready:
            self._send(tmp_path / "sock", "STATUS=starting", "STATUS=there\nREADY=1\n")
            ready.wait(record, Deadline(10))
        assert list(tmp_path.iterdir()) == []

    def test_ready_and_gone_is_ready(self, tmp_path: pathlib.Path, spawn: t.Any) -> None:
        child = spawn("true")
        record = builders.record(init=identify(child.pid))
        child.wait()
        with sd_notify.ReadySocket(f"{tmp_path}/sock") as ready:
            self._send(tmp_path / "sock", "READY=1")
            ready.wait(record, Deadline(10))

    def test_a_status_is_not_ready(self, tmp_path: pathlib.Path, spawn: t.Any) -> None:
        (tmp_path / "log").write_text("one\ntwo\n", encoding="utf-8")
        record = builders.record(init=identify(spawn().pid), log_path=f"{tmp_path}/log")
        with sd_notify.ReadySocket(f"{tmp_path}/sock") as ready:
            self._send(tmp_path / "sock", "STATUS=reading tables", "XREADY=1", "READY=10")
            with pytest.raises(
                DeadlineExceeded, match=r"web did not say in time.*last status was: reading tables"
            ) as caught:
                ready.wait(record, Deadline(0.05))
        assert caught.value.details["container_log"] == ["one", "two"]

    def test_a_container_that_ends_is_not_waited_for(self, tmp_path: pathlib.Path, spawn: t.Any) -> None:
        child = spawn("sleep", "0.2")
        record = builders.record(init=identify(child.pid))
        too_late = pytest.raises(ProgramFailed, match="web ended before it said that it is ready")
        with too_late, sd_notify.ReadySocket(f"{tmp_path}/sock") as ready:
            ready.wait(record, Deadline(30))

    def test_nor_is_one_that_has_ended_already(self, tmp_path: pathlib.Path, spawn: t.Any) -> None:
        """It takes the runtime some milliseconds to start a container, and true ends in one."""
        child = spawn()
        record = builders.record(init=identify(child.pid))
        child.kill()
        with PidFd(record.init) as handle:
            assert handle.wait(Deadline(10))
        deadline = Deadline(3)
        too_late = pytest.raises(ProgramFailed, match="web ended before it said that it is ready")
        with too_late, sd_notify.ReadySocket(f"{tmp_path}/sock") as ready:
            ready.wait(record, deadline)
        assert deadline.remaining() > 0

    def test_a_socket_that_is_left_over_is_replaced(self, tmp_path: pathlib.Path, spawn: t.Any) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as old:
            old.bind(f"{tmp_path}/sock")
        with sd_notify.ReadySocket(f"{tmp_path}/sock") as ready:
            self._send(tmp_path / "sock", "READY=1")
            ready.wait(builders.record(init=identify(spawn().pid)), Deadline(10))


class TestTellManager:
    """The manager is a socket of the test, and python-systemd a module that says what it was given: the real one is part of
    the integration tests on hosts."""

    @pytest.fixture
    def told(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[socket.socket]:
        package = tmp_path / "systemd"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "daemon.py").write_text(
            "import os, socket\n"
            "def notify(text):\n"
            "    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:\n"
            "        sender.sendto(text.encode(), os.environ['NOTIFY_SOCKET'])\n",
            encoding="utf-8",
        )
        for name in [name for name in sys.modules if name.partition(".")[0] == "systemd"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/manager")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"{tmp_path}/manager")
            manager.settimeout(0.2)
            yield manager
        sys.modules.pop("systemd.daemon", None)
        sys.modules.pop("systemd", None)

    @pytest.mark.parametrize("sdnotify", ["conmon", "container"])
    def test_conmon_is_the_main_process(self, told: socket.socket, spawn: t.Any, sdnotify: str) -> None:
        monitor = identify(spawn().pid)
        assert monitor is not None
        record = builders.record(definition=builders.definition(sdnotify=sdnotify), monitor=monitor)
        assert sd_notify.tell_manager(record) == ""
        assert told.recv(4096).decode() == f"MAINPID={monitor.pid}\nREADY=1"

    def test_not_unasked(self, told: socket.socket, spawn: t.Any) -> None:
        assert sd_notify.tell_manager(builders.record(monitor=identify(spawn().pid))) == ""
        with pytest.raises(TimeoutError):
            told.recv(4096)

    def test_without_a_manager(self, monkeypatch: pytest.MonkeyPatch, spawn: t.Any) -> None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        record = builders.record(definition=builders.definition(sdnotify="conmon"), monitor=identify(spawn().pid))
        assert sd_notify.tell_manager(record) == ""

    def test_without_the_library(self) -> None:
        """In a Python that has nothing but its standard library."""
        code = (
            "import sys\n"
            "from ansible_collections.longshore.oci.tests.unit import builders\n"
            "from ansible_collections.longshore.oci.plugins.module_utils._base import process\n"
            "from ansible_collections.longshore.oci.plugins.module_utils._container import sd_notify\n"
            "sys.modules['systemd'] = None\n"
            "wanted = builders.definition(sdnotify='conmon')\n"
            "print(sd_notify.tell_manager(builders.record(definition=wanted, monitor=process.identify(1))))\n"
        )
        environment = {**programs.python_environment(), "NOTIFY_SOCKET": "/nowhere"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert "python3-systemd is missing" in done.stdout
