# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of exec sessions for tests, of a container whose conmon and runtime are shells."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.longshore.oci.plugins.module_utils._base.process import ProcessId, identify
from ansible_collections.longshore.oci.plugins.module_utils._exec import session_store
from ansible_collections.longshore.oci.plugins.module_utils._exec.session_store import Session, SessionPaths
from ansible_collections.longshore.oci.plugins.module_utils._state.store import Paths
from ansible_collections.longshore.oci.tests.unit import builders

SHELL = os.path.realpath("/bin/sh")
RECORD = builders.record(conmon=builders.record().conmon._replace(path=SHELL))


@pytest.fixture
def container(tmp_path: pathlib.Path) -> Paths:
    return Paths("web", state_dir=f"{tmp_path}/state", run_dir=f"{tmp_path}/run")


def myself() -> ProcessId:
    return t.cast(ProcessId, identify(os.getpid()))


def session(**changes: t.Any) -> Session:
    values: dict[str, t.Any] = {
        "id": "one", "argv": ("sleep", "1"), "user": None, "tty": False, "detached": True, "owner": None, "pid": 5,
        "started": 1.5,
    }  # fmt: skip
    return Session(**{**values, **changes})


def kept(container: Paths, **changes: t.Any) -> SessionPaths:
    """Write the record of a session."""
    written = session(**changes)
    paths = SessionPaths(container, written.id)
    session_store.lay_out(paths, written)
    return paths
