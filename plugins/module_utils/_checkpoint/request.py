# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request to make, restore or remove a checkpoint, and its outcome."""

from __future__ import annotations

import os
import typing as t

from .._archive.manifest import Software
from .._criu.criu import Options
from .._state.model import Observed
from .checkpoint_store import Stored
from .plan import Goal, Plan
from .restore import Wanted


class Request(t.NamedTuple):
    """The request. ``wanted`` describes the restored container, ``timeout`` is in seconds."""

    name: str
    goal: Goal
    options: Options = Options()
    archive: str | None = None
    compression: str | None = None
    include_rootfs: bool = False
    include_logs: bool = True
    keep: bool = False
    sign_key: str | None = None
    verify: tuple[str, ...] = ()
    wanted: Wanted = Wanted()
    timeout: float = 600

    @property
    def target(self) -> str:
        return self.wanted.name or self.name


class Description(t.NamedTuple):
    """A checkpoint for people and playbooks. ``size`` in bytes is that of the archive where there is one."""

    path: str | None  # of the stored one
    archive: str | None
    size: int | None
    digest: str | None
    created_at: str | None
    runtime: Software
    criu: str | None  # its version
    options: Options
    rootfs: str | None


class Outcome(t.NamedTuple):
    """The observed state, the plan and its result. In check mode ``after`` is ``before``, both of the target."""

    plan: Plan
    before: Observed
    after: Observed
    checkpoint: Description | None
    statistics: t.Mapping[str, int]
    warnings: tuple[str, ...] = ()


def describe(whole: Stored, archive: str | None, *, of_archive: bool = False) -> Description:
    """Return the description of a checkpoint. ``archive`` is the requested one, ``of_archive`` whether it is the source."""
    manifest = whole.manifest
    path = archive if archive and (of_archive or os.path.exists(archive)) else None
    size = os.stat(path).st_size if path and os.path.isfile(path) else manifest.size
    return Description(
        whole.path or None if not of_archive else None, path, size, manifest.digest, manifest.created_at, manifest.runtime,
        manifest.criu and manifest.criu.version, manifest.options, manifest.rootfs,
    )  # fmt: skip
