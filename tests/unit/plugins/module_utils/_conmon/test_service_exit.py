# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that has just ended, or that systemd starts again, without systemd: its files are played by the test."""

from __future__ import annotations

import os
import pathlib
import threading
import time
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._conmon import service_exit
from ansible_collections.longshore.oci.plugins.module_utils._container.observe import observe
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Observed, Status
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


class Service:
    """A service that has run, and has no process now."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.store = Store(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        self.paths = self.store.paths("web")
        os.makedirs(self.paths.state)
        self.record = builders.record(
            definition=builders.definition(service=True), runtime_root=f"{directory}/run/runc"
        )
        self.store.save(self.record)
        self.link = directory / "systemd/units/invocation:longshore-web.service"
        self.link.parent.mkdir(parents=True)
        self.begin()

    def begin(self) -> None:
        os.makedirs(self.paths.exits)
        os.symlink(self.paths.state, self.paths.owner)
        pathlib.Path(self.paths.pidfile).write_text("999999999")

    def activate(self) -> None:
        self.link.symlink_to("0123456789")

    def end(self, code: int) -> None:
        pathlib.Path(self.paths.exits, "web").write_text(str(code))

    def seen_while(self, *steps: t.Callable[[], object]) -> Observed:
        """Observe it while one step after the other is done, each after a moment."""

        def run() -> None:
            for step in steps:
                time.sleep(0.03)
                step()

        other = threading.Thread(target=run)
        other.start()
        seen = observe(self.store, "web")
        other.join()
        return seen


@pytest.fixture
def service(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(service_exit, "user_runtime_directory", lambda: f"{tmp_path}")
    return Service(tmp_path)


@pytest.mark.parametrize("code", [0, 1, 143])
def test_the_exit_code_is_awaited(service: Service, code: int) -> None:
    """conmon writes it before systemd sees the end of the unit."""
    service.activate()
    seen = service.seen_while(lambda: service.end(code), service.link.unlink)
    assert (seen.status, seen.exit and seen.exit.code) == (Status.STOPPED, code)


def test_one_that_is_started_again_meanwhile(service: Service) -> None:
    """The script removes what is left of the last run: there is no exit code until the next end, nor a pid file for a while."""
    service.activate()
    os.rmdir(service.paths.exits)
    seen = service.seen_while(lambda: os.mkdir(service.paths.exits), lambda: service.end(3))
    assert (seen.status, seen.exit and seen.exit.code) == (Status.STOPPED, 3)


def test_one_whose_exit_code_is_lost(service: Service) -> None:
    service.activate()
    began = time.monotonic()
    seen = service.seen_while(service.link.unlink)
    assert time.monotonic() - began < 3
    assert (seen.status, seen.exit and seen.exit.code) == (Status.STOPPED, None)


def test_one_that_systemd_does_not_run(service: Service) -> None:
    service.end(5)
    seen = service.seen_while()
    assert (seen.status, seen.exit and seen.exit.code) == (Status.STOPPED, 5)


def test_one_that_waits_in_its_start(service: Service) -> None:
    """For the network, or for a mount: systemd is to launch it, as one that was never started. Nothing waits for that."""
    service.activate()
    os.remove(service.paths.pidfile)
    began = time.monotonic()
    assert service.seen_while().status is Status.CREATED
    assert time.monotonic() - began < 1


def test_one_that_systemd_does_not_end(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_exit, "EXIT_FILE_SECONDS", 0.05)
    service.activate()
    assert service.seen_while().status is Status.CREATED


def test_who_has_the_links(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not service_exit.is_active(service.record)
    service.activate()
    assert service_exit.is_active(service.record)
    assert not service_exit.is_active(service.record._replace(realm="01234567"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not service_exit.is_active(service.record)


@pytest.mark.parametrize(
    ("phase", "waits"),
    [("created", True), ("starting", True), ("running", False), ("stopped", False), ("stopping", False)],
)
def test_what_waits_for_systemd(service: Service, phase: str, waits: bool) -> None:
    record = builders.record(phase=phase, definition=builders.definition(service=True))
    assert service_exit.launched(record, service.paths) == (record, waits)
    service.end(0)
    assert service_exit.launched(record, service.paths) == (record, False)
