# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._archive.manifest import Software
from ansible_collections.longshore.oci.plugins.module_utils._base.errors import InvalidOption
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint import restore
from ansible_collections.longshore.oci.plugins.module_utils._checkpoint.restore import Wanted
from ansible_collections.longshore.oci.plugins.module_utils._criu.criu import Options
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Definition, LogDriver, Program
from ansible_collections.longshore.oci.tests.unit import builders, stored

FOREIGN = Definition(
    "/theirs", log_driver=LogDriver.K8S_FILE, log_size_max=7, sdnotify="conmon", stdin=True, runtime_args=("--x",), exit_command=("/x",)
)  # fmt: skip
HERE = Wanted(overrides={"bundle": "/srv/here"})


@pytest.mark.parametrize(
    ("dumped", "runtime", "says"),
    [
        ("crun", "crun", ""), ("runc", "runc", ""), (None, "crun", ""), ("youki", "crun", ""), ("crun", "youki", ""),
        ("crun", "runc", "created with crun, so runc cannot"), ("runc", "crun", "created with runc, so crun cannot"),
    ],
)  # fmt: skip
def test_the_runtime_must_be_the_same(dumped: str | None, runtime: str, says: str) -> None:
    manifest = stored.manifest(runtime=Software(dumped))
    if not says:
        restore.check_runtime(Program(runtime, f"/{runtime}", "1"), manifest)
        return
    with pytest.raises(InvalidOption, match=says):
        restore.check_runtime(Program(runtime, f"/{runtime}", "1"), manifest)


@pytest.mark.parametrize(
    ("mode", "foreign", "given", "runtime", "moved", "says"),
    [
        (None, True, None, "crun", True, ""), ("soft", True, None, "crun", True, ""), ("full", False, None, "runc", True, ""),
        ("full", True, "soft", "runc", True, ""), ("full", True, None, "runc", False, "changes cgroups of the host"),
        ("strict", True, None, "crun", False, "changes cgroups of the host"), ("ignore", False, None, "crun", False, ""),
        ("ignore", False, None, "runc", True, ""), ("ignore", True, None, "crun", True, "only under the same name and cgroup_parent"),
    ],
)  # fmt: skip
def test_cgroups(mode: str | None, foreign: bool, given: str | None, runtime: str, moved: bool, says: str) -> None:
    manifest = stored.manifest(options=Options(manage_cgroups_mode=mode), from_archive=foreign)
    options, program = Options(manage_cgroups_mode=given), Program(runtime, f"/{runtime}", "1")
    if not says:
        restore.check_cgroups(manifest, options, program, moved=moved)
        return
    with pytest.raises(InvalidOption, match=says):
        restore.check_cgroups(manifest, options, program, moved=moved)


@pytest.mark.parametrize(
    ("changes", "wanted", "found"),
    [
        ({}, Wanted(), {"runtime": "runc"}),
        ({"definition": FOREIGN._replace(conmon="/c", log_path="/l", service=True, restart_policy="always")}, Wanted(), {
            **FOREIGN._asdict(), "runtime": "runc",
        }),
        ({"definition": Definition("/srv/web", runtime="crun")}, Wanted(), {"runtime": "crun"}),
        ({"definition": Definition("/srv/web", runtime="/opt/crun")}, Wanted(), {"runtime": "runc"}),
        ({}, Wanted(overrides={"runtime": "/opt/runc"}), {"runtime": "/opt/runc"}),
        # Of another's definition only what is neither a command nor a path.
        ({"definition": FOREIGN, "from_archive": True}, HERE, {
            "bundle": "/srv/here", "log_size_max": 7, "sdnotify": "conmon", "stdin": True, "runtime": "runc",
        }),
        ({"definition": FOREIGN._replace(log_driver=LogDriver.JOURNALD), "from_archive": True}, HERE, {
            "bundle": "/srv/here", "log_driver": "journald", "sdnotify": "conmon", "stdin": True, "runtime": "runc",
        }),
        ({"definition": None, "from_archive": True, "runtime": Software("evil", "/evil")}, HERE, {"bundle": "/srv/here"}),
    ],
)  # fmt: skip
def test_a_container_that_is_not_known_here(changes: dict[str, t.Any], wanted: Wanted, found: dict[str, t.Any]) -> None:
    expected = Definition(**{"bundle": "/srv/web", **found})
    assert restore.definition_of(wanted, stored.whole(**changes), None) == expected


def test_a_container_that_is_known_here() -> None:
    known = builders.record(definition=Definition("/srv/known", exit_command=("/x",)))
    found = restore.definition_of(Wanted(), stored.whole(definition=FOREIGN, from_archive=True), known)
    assert found == Definition("/srv/known", exit_command=("/x",), runtime="/usr/sbin/runc")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"from_archive": True}, r"Set bundle to a directory .* It was /srv/web on the host"),
        ({"from_archive": True, "definition": None}, "root file system in rootfs.$"),
        ({"definition": None}, "The checkpoint in /state/1 is damaged: longshore.json has no definition"),
    ],
)  # fmt: skip
def test_nothing_says_which_bundle(changes: dict[str, t.Any], says: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        restore.definition_of(Wanted(), stored.whole(**changes), None)
    assert re.search(says, str(refused.value))


def test_what_is_not_taken_over_is_said() -> None:
    source = stored.whole(left_out=("listen", "log_path"))
    assert restore.left_out(stored.whole(), Wanted()) == []
    assert restore.left_out(source, Wanted())[0].startswith(
        "listen, log_path of the container in the archive: ignored."
    )
    assert restore.left_out(source, Wanted(overrides={"listen": ()}))[0].startswith("log_path of the")
