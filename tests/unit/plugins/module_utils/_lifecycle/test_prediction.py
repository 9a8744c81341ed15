# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode on a host where earlier tasks of the play, which only predict too, would create files and install programs."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.errors import (
    AbsentFile,
    InvalidOption,
    MissingPrerequisite,
    NotInstalled,
)
from ansible_collections.longshore.oci.plugins.module_utils._lifecycle.containers import Containers
from ansible_collections.longshore.oci.plugins.module_utils._state.model import Action, Definition, Desired
from ansible_collections.longshore.oci.tests.unit import builders, bundle

pytestmark = pytest.mark.pure


@pytest.fixture
def engine(tmp_path: pathlib.Path) -> Containers:
    return Containers(state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def _bundle(tmp_path: pathlib.Path) -> str:
    (tmp_path / "bundle").mkdir()
    return bundle.make(tmp_path / "bundle", "sleep", "60")


def _check(engine: Containers, definition: Definition) -> tuple[tuple[Action, ...], str]:
    outcome = engine.converge(Desired("web", definition=definition), check=True)
    assert not os.path.exists(engine.store.paths("web").state)
    return outcome.actions, " ".join(outcome.warnings)


def test_a_bundle_that_does_not_exist_yet(engine: Containers, tmp_path: pathlib.Path) -> None:
    wanted = Definition(bundle=f"{tmp_path}/none")
    actions, warning = _check(engine, wanted)
    assert actions == (Action.CREATE, Action.START)
    assert "There is no bundle at" in warning
    assert "Check mode assumes that an earlier task of the play creates it." in warning
    with pytest.raises(AbsentFile, match="There is no bundle at"):
        engine.converge(Desired("web", definition=wanted))


def test_a_bundle_without_its_files(engine: Containers, tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in _check(engine, Definition(bundle=f"{tmp_path}/empty"))[1]
    path = _bundle(tmp_path)
    os.rename(f"{path}/rootfs", f"{path}/other")
    assert "The root file system" in _check(engine, Definition(bundle=path))[1]


@pytest.mark.impure
@pytest.mark.parametrize("option", ["runtime", "conmon"])
def test_a_program_that_is_not_installed_yet(engine: Containers, tmp_path: pathlib.Path, option: str) -> None:
    wanted = Definition(bundle=_bundle(tmp_path), runtime="runc")._replace(
        **t.cast(t.Any, {option: "/usr/bin/nothing-there"})
    )
    actions, warning = _check(engine, wanted)
    assert actions == (Action.CREATE, Action.START)
    assert "is not on this host" in warning
    with pytest.raises(NotInstalled):
        engine.converge(Desired("web", definition=wanted))


def test_what_no_earlier_task_mends_is_refused(engine: Containers, tmp_path: pathlib.Path) -> None:
    path = _bundle(tmp_path)
    with pytest.raises(InvalidOption, match="absolute path"):
        _check(engine, Definition(bundle="bundle"))
    with pytest.raises((InvalidOption, MissingPrerequisite)):
        _check(engine, Definition(bundle=path, cgroup_parent="relative"))


def test_a_container_that_gets_another_bundle(engine: Containers, tmp_path: pathlib.Path) -> None:
    was = Definition(bundle=_bundle(tmp_path))
    engine.store.save(builders.record(phase="stopped", definition=was))
    outcome = engine.converge(Desired("web", definition=was._replace(bundle=f"{tmp_path}/next")), check=True)
    assert Action.CREATE in outcome.actions
    assert "There is no bundle at" in " ".join(outcome.warnings)
