# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was changed by hand in the unit of a service. That it is mended is tested on hosts with systemd (oci_container, drift)."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import Conflict
from ansible_collections.longshore.oci.plugins.module_utils._conmon import service_exit
from ansible_collections.longshore.oci.plugins.module_utils._service import unit_state
from ansible_collections.longshore.oci.plugins.module_utils._state import names
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Record, Timeouts
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Store
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure


class Written:
    """A service whose unit and script are as written."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.store = Store(state_dir=f"{directory}/state", run_dir=f"{directory}/run")
        self.record = builders.record(definition=builders.definition(service=True, conmon_env={"SECRET": "abc"}))
        self.unit = directory / "web.service"
        self.script = pathlib.Path(self.store.paths("web").service_script)
        self.script.parent.mkdir(parents=True)
        self.config = {
            "root": {"path": "/srv/web/rootfs"},
            "process": {},
            "mounts": [{"type": "bind", "source": "/data"}],
        }
        pathlib.Path(self.store.paths("web").config).write_text(json.dumps(self.config))
        self.write(Timeouts(create=77))

    def write(self, timeouts: Timeouts | None = None) -> None:
        script, unit = unit_state.texts(self.store, self.record, timeouts)
        self.script.write_text(script)
        self.unit.write_text(unit)

    def seen(self, **changes: t.Any) -> unit_state.UnitState | None:
        return unit_state.look(self.store, self.record._replace(**changes))

    def differences(self, **changes: t.Any) -> dict[str, tuple[t.Any, t.Any]]:
        seen = self.seen(**changes)
        assert seen is not None
        return dict(seen.differences)

    def edit(self, old: str, new: str) -> None:
        text = self.unit.read_text()
        assert old in text
        self.unit.write_text(text.replace(old, new))


@pytest.fixture
def written(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.setattr(names, "service_path", lambda name, _realm: f"{tmp_path}/{name}.service")
    monkeypatch.setattr(service_exit, "user_runtime_directory", lambda: f"{tmp_path}")
    return Written(tmp_path)


def test_one_that_nobody_touched(written: Written) -> None:
    """The timeout of a start is of the task that wrote it, and in no record."""
    assert "TimeoutStartSec=77\n" in written.unit.read_text()
    assert written.seen() == unit_state.UnitState(enabled=False, active=False)


# A line of the unit, and what it was made.
EDITS = [
    ("Restart=no", "Restart=always"),
    ("TimeoutStopSec=20", "TimeoutStopSec=1"),
    ("TimeoutStartSec=77", "TimeoutStartSec=infinity"),
    ("TimeoutStartSec=77", "#TimeoutStartSec=77"),
    ("KillSignal=SIGCONT", "KillSignal=SIGTERM"),
    (' "/data"', ""),
    (" stop\n", " stop --now\n"),
    ("Description=Container web", "Description=Container Web"),
    ("[Install]", "ExecStartPre=/bin/true\n[Install]"),
    ("WantedBy=", "RequiredBy="),
]


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_one_that_was_edited(written: Written, old: str, new: str) -> None:
    before = written.unit.read_text()
    written.edit(old, new)
    ((name, (was, becomes)),) = written.differences().items()
    assert name == "service.unit"
    assert set(was) == set(written.unit.read_text().splitlines()) - set(before.splitlines())
    if "TimeoutStartSec" in old:
        assert becomes == ["TimeoutStartSec=240"]
    else:
        assert set(becomes) == set(before.splitlines()) - set(written.unit.read_text().splitlines())


def test_lines_in_another_order(written: Written) -> None:
    written.unit.write_text("\n".join(reversed(written.unit.read_text().splitlines())))
    assert written.differences() == {"service.unit": ([], [])}


def test_one_that_was_deleted(written: Written) -> None:
    written.unit.unlink()
    assert written.differences() == {"service.unit": (None, "longshore-web.service")}
    written.script.unlink()
    assert written.differences()["service.script"] == (None, "(hidden, new)")


@pytest.mark.parametrize("text", ["", "#!/bin/sh\nexit 0\n"])
def test_a_script_that_was_changed(written: Written, text: str) -> None:
    """It has the environment of conmon, which a diff does not show."""
    assert "abc" in written.script.read_text()
    written.script.write_text(text)
    assert written.differences() == {"service.script": ("(hidden)", "(hidden, new)")}


def test_a_config_that_needs_other_mounts(written: Written) -> None:
    """As one of an earlier release, whose unit waits for no mounts of its own."""
    written.config["mounts"] = [{"type": "bind", "source": "/data"}, {"type": "bind", "source": "/more"}]
    pathlib.Path(written.store.paths("web").config).write_text(json.dumps(written.config))
    assert list(written.differences()) == ["service.unit"]


def test_a_unit_of_another(written: Written) -> None:
    written.unit.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(Conflict, match="is not a unit of this container"):
        written.seen()
    # With a record of which no unit is expected, nothing is compared.
    for phase in ("removed", "creating", "stopping", "checkpointed"):
        assert written.seen(phase=builders.record(phase=phase).phase) is None


def test_where_it_is_enabled_and_active(
    written: Written, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    written.write()
    wants = tmp_path / "default.target.wants"
    wants.mkdir()
    (wants / "web.service").symlink_to(tmp_path / "gone")
    assert written.seen() == unit_state.UnitState(enabled=True, active=False)
    units = tmp_path / "systemd/units"
    units.mkdir(parents=True)
    (units / "invocation:longshore-web.service").symlink_to(tmp_path / "0123456789")
    (wants / "web.service").unlink()
    assert written.seen() == unit_state.UnitState(enabled=False, active=True)


def test_the_unit_of_an_earlier_release(written: Written) -> None:
    """It is written again, without another container: only for its next start."""
    written.edit("Type=notify\nNotifyAccess=all\n", "Type=forking\nPIDFile=/run/x\n")
    assert written.differences() == {
        "service.unit": (["Type=forking", "PIDFile=/run/x"], ["Type=notify", "NotifyAccess=all"])
    }  # fmt: skip
    record: Record = written.record
    assert unit_state.texts(written.store, record)[1] != written.unit.read_text()


# phase, whether the exit is later than the record, the substate, whether systemd is asked, and what is said
WAITING = [
    ("stopped", True, "auto-restart", True, True),
    ("created", True, "auto-restart-queued", True, True),
    ("stopped", True, "failed-before-auto-restart", True, True),
    ("stopped", True, "dead", True, False),
    ("stopped", True, "failed", True, False),
    ("stopped", True, "", True, False),
    ("stopped", False, "auto-restart", False, False),
    # The end is not of a stop: nothing is to be found out.
    ("running", True, "auto-restart", False, False),
]


@pytest.mark.parametrize(("phase", "later", "substate", "asked", "active"), WAITING)
def test_one_that_was_started_after_a_stop(
    written: Written, monkeypatch: pytest.MonkeyPatch, phase: str, later: bool, substate: str, asked: bool, active: bool
) -> None:
    """It waits to be started again: systemd has no file that shows that."""
    paths, told = written.store.paths("web"), []
    written.record = builders.record(phase=phase, definition=written.record.definition)
    written.store.save(written.record)
    os.makedirs(paths.persist)
    end = pathlib.Path(f"{paths.persist}/exit")
    end.write_text("3")
    now = os.stat(paths.record).st_mtime
    os.utime(end, (now + 5, now + 5) if later else (now - 5, now - 5))

    class Systemd:
        def __init__(self, **_options: object) -> None: ...

        def __enter__(self) -> t.Any:
            return self

        def __exit__(self, *_exc: object) -> None: ...

        def substate(self, unit: str) -> str:
            told.append(unit)
            return substate

    monkeypatch.setattr(unit_state, "Bus", Systemd)
    seen = written.seen()
    assert seen is not None
    assert (seen.active, told) == (active, ["longshore-web.service"] if asked else [])
