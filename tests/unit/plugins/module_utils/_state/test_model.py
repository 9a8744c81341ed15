# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a record is in a file, and what former releases wrote."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId
from ansible_collections.longshore.oci.plugins.module_utils._state.model import (
    RECORD_FORMAT,
    CgroupManager,
    Checkpoint,
    Definition,
    Exit,
    LogDriver,
    NetworkHelper,
    Record,
)
from ansible_collections.longshore.oci.tests.unit import builders

pytestmark = pytest.mark.pure

FULL = {
    "init": ProcessId(12, 345, "boot"), "monitor": ProcessId(13, 346, "boot"), "helper": ProcessId(14, 347, "boot"),
    "last_exit": Exit(137, "killed", "2026-01-01T00:00:00Z", True), "checkpoint": Checkpoint("/c", ("--tcp-close",), True),
    "definition": builders.definition(exit_command=("/bin/true", "x"), conmon_env={"A": "1"}, publish=("80:80",)),
}  # fmt: skip


def _through_json(record: Record) -> dict[str, t.Any]:
    return t.cast(dict[str, t.Any], json.loads(json.dumps(record.to_json())))


@pytest.mark.parametrize("changes", [{}, FULL])
def test_a_record_comes_back_as_it_was(changes: dict[str, t.Any]) -> None:
    record = builders.record(**changes)
    found = Record.from_json(_through_json(record))
    # JSON has no tuples: where a list comes back, its content is the same.
    assert found.checkpoint is None or list(found.checkpoint.options) == list(record.checkpoint.options)  # type: ignore[union-attr]
    assert found.replace(checkpoint=None) == record.replace(checkpoint=None)


def test_choices_are_words_in_the_file() -> None:
    """Former releases wrote these words, and read them."""
    given = builders.definition(log_driver="k8s-file", network_helper="pasta", cgroup_manager="auto")
    value = _through_json(builders.record(definition=given, cgroup_manager="systemd"))
    words = {name: value["definition"][name] for name in ("log_driver", "network_helper", "cgroup_manager")}
    assert words == {"log_driver": "k8s-file", "network_helper": "pasta", "cgroup_manager": "auto"}
    assert value["cgroup_manager"] == "systemd"
    found = Record.from_json(value)
    assert found.cgroup_manager is CgroupManager.SYSTEMD
    assert found.definition.log_driver is LogDriver.K8S_FILE
    assert found.definition.network_helper is NetworkHelper.PASTA


@pytest.mark.parametrize("name", ["log_driver", "network_helper", "cgroup_manager"])
def test_another_word_is_damage(name: str) -> None:
    value = _through_json(builders.record())
    with pytest.raises(ValueError, match="'other' is not a valid"):
        Record.from_json({**value, "definition": {**value["definition"], name: "other"}})


def test_it_says_its_format() -> None:
    assert _through_json(builders.record())["format"] == RECORD_FORMAT


def test_what_a_former_release_did_not_write_has_its_default() -> None:
    value = _through_json(builders.record())
    needed = {
        "name",
        "phase",
        "definition",
        "config_digest",
        "runtime",
        "runtime_root",
        "conmon",
        "cgroup_manager",
        "boot",
    }
    old = {name: each for name, each in value.items() if name in needed}
    old["definition"] = {"bundle": "/srv/web"}
    assert Record.from_json(old) == builders.record()


def test_what_a_later_release_writes_besides_is_left_out() -> None:
    value = {**_through_json(builders.record()), "news": 1}
    value["definition"]["news"] = [1]
    assert Record.from_json(value) == builders.record()


@pytest.mark.parametrize("name", ["name", "phase", "definition", "runtime", "conmon", "boot"])
def test_what_is_missing_is_damage(name: str) -> None:
    value = _through_json(builders.record())
    del value[name]
    with pytest.raises((KeyError, TypeError)):
        Record.from_json(value)


def test_a_definition_has_tuples_for_lists() -> None:
    found = Definition.from_json({"bundle": "/b", "runtime_args": ["--debug"], "listen": []})
    assert found == Definition("/b", runtime_args=("--debug",))
    assert hash(found.runtime_args) == hash(("--debug",))


@pytest.mark.parametrize(
    ("name", "driver", "runtime_id"),
    [
        ("web", "k8s-file", "web"), ("web", "journald", "web.longshore.oci"), ("w" * 12, "journald", f"{'w' * 12}.longshore.oci"),
        ("w" * 13, "journald", "w" * 13),
    ],
)  # fmt: skip
def test_conmons_journald_takes_no_short_id(name: str, driver: str, runtime_id: str) -> None:
    record = builders.record(name=name, definition=builders.definition(log_driver=driver))
    assert record.runtime_id == runtime_id
