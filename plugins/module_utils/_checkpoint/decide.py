# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, and refuse impossible requests."""

from __future__ import annotations

import os
import typing as t

from .._archive.manifest import Manifest
from .._archive.named_pipe import is_pipe
from .._base.errors import InvalidOption
from .._container.create import Launch
from .._container.observe import observe
from .._host.detect import Host
from .._state.store import Store
from . import checkpoint_store
from .checkpoint_store import Stored
from .dump_checks import check_dump
from .dump_mounts import check_mounts
from .export import check_export
from .plan import Action, Found, Goal, Plan, plan
from .request import Request
from .restore import prepare_restore
from .source import Source


class Context(t.NamedTuple):
    """All that a task works with."""

    store: Store
    host: Host
    request: Request
    source: Source


def decide(context: Context) -> tuple[Found, Plan]:
    """Return the observed state and the plan. Refuse impossible requests. Run programs only if needed."""
    store, request = context.store, context.request
    source = observe(store, request.name)
    target = source if request.target == request.name else observe(store, request.target)
    whole = stored(context)
    found = Found(source, target, whole is not None, _has_archive(request, whole))
    leave = bool(request.options.leave_running)
    decided = plan(request.goal, found, leave_running=leave, keep=request.keep)
    if Action.RECOVER in decided.actions:
        return found, decided  # After the recovery, the caller decides again.
    if Action.CHECKPOINT in decided.actions:
        check_dump(request, source.existing, source.status)
        check_mounts(source.existing, store.load_config(request.name) or {})
    if Action.EXPORT in decided.actions:
        check_export(request)
    if Action.RESTORE in decided.actions:
        prepare(context, found, context.source.look())
    return found, decided


def stored(context: Context) -> Stored | None:
    """Return the stored checkpoint. Raises InvalidOption for a damaged one, unless it is only to be removed."""
    try:
        return context.source.stored()
    except InvalidOption:
        path = checkpoint_store.newest_path(context.store, context.request.name)
        if context.request.goal is not Goal.ABSENT or path is None:
            raise
        return Stored(path, Manifest(context.request.name), {})


def _has_archive(request: Request, whole: Stored | None) -> bool | None:
    if request.archive is None:
        return None
    if request.goal is Goal.CHECKPOINTED and whole and whole.manifest.export == request.archive:
        return False  # It belongs to an earlier checkpoint, because the task that had to write this one was killed.
    return os.path.exists(request.archive) and not is_pipe(request.archive)


def prepare(context: Context, found: Found, source: Stored) -> Launch:
    """Return the launch of a restore. Raises InvalidOption, MissingPrerequisite or WrongState for one that cannot be
    made."""
    request = context.request
    return prepare_restore(
        context.store, context.host, request.target, request.wanted, source, found.target.record, request.options
    )  # fmt: skip
