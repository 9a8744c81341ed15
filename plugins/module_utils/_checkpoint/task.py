# Copyright (c) Longshore contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions of one task, under the locks. It may be killed at any moment: the record says which action was in progress."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._archive.named_pipe import is_pipe, writer
from .._base.deadline import Deadline
from .._base.errors import LongshoreError
from .._base.files import remove_tree
from .._config.namespaces import namespaces_of
from .._container.create import create
from .._container.observe import observe
from .._criu import criu
from .._lifecycle.delete import delete_container
from .._lifecycle.recovery import recover, used_up
from .._ports import packet_lock
from .._state.model import Exit, Timeouts
from .._state.phase import Phase
from .._state.unfinished import discard
from . import checkpoint_store
from .checkpoint_store import Stored
from .decide import Context, decide, prepare, stored
from .dump import dump, fill_in, statistics
from .export import export
from .lay_out import lay_out
from .plan import Action, Found, Plan
from .request import Description, Outcome, describe
from .restore import left_out

if t.TYPE_CHECKING:
    from .._state.lock import Lock


class Task:
    """Carries out a plan. ``locks`` are those of the containers that it is about."""

    _found: Found  # by the decision under the locks

    def __init__(self, context: Context, deadline: Deadline, locks: t.Sequence[Lock]) -> None:
        self._context, self._deadline, self._locks = context, deadline, locks
        self._store, self._request = context.store, context.request
        self._timeouts = Timeouts(create=context.request.timeout)
        self._whole: Stored | None = None
        self._imported: str | None = None
        self._pipe: t.BinaryIO | None = None
        self._statistics: t.Mapping[str, int] = {}
        self._warnings: list[str] = []

    def run(self) -> Outcome:
        """Decide again under the locks, and carry out the plan."""
        self._found, decided = decide(self._context)
        before = self._found.target
        if Action.RECOVER in decided.actions:
            decided = self._recover()
        self._whole = stored(self._context)
        described = self._carry_out(decided)
        after = observe(self._store, self._request.target)
        if self._imported and self._whole:
            described = describe(self._whole, self._request.archive, of_archive=self._request.archive is not None)
        elif self._whole and described is None:
            described = describe(self._whole, self._request.archive)
        return Outcome(decided, before, after, described, self._statistics, tuple(self._warnings))

    def _carry_out(self, decided: Plan) -> Description | None:
        """Returns the description of a checkpoint that was removed."""
        described = None
        steps = {
            Action.RECOVER: lambda: None, Action.CHECKPOINT: self._dump, Action.EXPORT: self._export,
            Action.REMOVE: self._remove, Action.IMPORT: self._import, Action.RESTORE: self._restore,
            Action.DELETE: self._delete,
        }  # fmt: skip
        try:
            if Action.RESTORE in decided.actions:
                self._context.host.remember()  # A failure must not come after the former container was removed.
            if Action.EXPORT in decided.actions and is_pipe(self._request.archive):
                self._pipe = writer(str(self._request.archive), self._deadline)
            for action in decided.actions:
                if action is Action.DELETE:
                    described = self._whole and describe(self._whole, self._request.archive)
                steps[action]()
        finally:
            if self._pipe is not None:
                with contextlib.suppress(OSError, LongshoreError):  # The first error is the important one.
                    self._pipe.close()
            # From a failed restore, or not needed any more.
            if self._imported and not (self._request.keep and self._statistics):
                remove_tree(self._imported)
                if self._store.load(self._request.target) is None:
                    self._store.forget(self._request.target)
        return described

    def _recover(self) -> Plan:
        """Complete or undo the work of a killed task, and decide again."""
        for name in sorted({self._request.name, self._request.target}):
            recover(self._store, name, self._timeouts)
            fill_in(self._store, name)
        self._found, again = decide(self._context)
        return again._replace(actions=(Action.RECOVER, *again.actions))

    def _dump(self) -> None:
        request, source = self._request, self._found.source
        self._whole = dump(
            self._store, source, request.options, criu.find(), with_rootfs=request.include_rootfs,
            measure=request.archive is None, deadline=self._deadline, timeouts=self._timeouts, export=request.archive,
            keeps=[descriptor for lock in self._locks for descriptor in lock.descriptors],
        )  # fmt: skip
        self._statistics = self._whole.manifest.statistics or {}

    def _export(self) -> None:
        whole = checkpoint_store.present(self._whole, self._request.name)
        self._whole = export(self._request, whole, self._found.source.existing, self._pipe)

    def _remove(self) -> None:
        """Remove the rest of the former container. Its record and log stay, like those of any ended container."""
        before = self._found.target
        record = delete_container(self._store, self._context.host, before, before.record, self._timeouts)
        if record is None and not os.path.isdir(f"{self._store.paths(before.name).state}/checkpoints"):
            self._store.forget(before.name)
        self._found = self._found._replace(target=before._replace(record=record))

    def _import(self) -> None:
        path = self._imported = checkpoint_store.work_directory(self._store, self._request.target)
        if self._request.archive is not None:
            manifest = self._context.source.unpack(path)
        else:
            source = self._context.source.look()
            checkpoint_store.link(source.path, path)
            manifest = source.manifest
        self._whole = checkpoint_store.write_manifest(path, manifest._replace(name=self._request.target))

    def _restore(self) -> None:
        """Restore. The checkpoint stays until the record says that the container runs. The record then marks it for removal."""
        request, source = self._request, checkpoint_store.present(self._whole, self._request.name)
        if request.keep:
            self._whole = source = checkpoint_store.keep(self._store, request.target, source)
            self._imported = self._imported and source.path
        # From the unpacked files: nothing comes from the read before.
        launch = prepare(self._context, self._found, source)
        checkpoint = launch.record.checkpoint and launch.record.checkpoint._replace(once=not request.keep)
        launch = launch._replace(record=launch.record.replace(checkpoint=checkpoint))
        record = self._found.target.record
        if record is not None and record.phase is Phase.CHECKPOINTED:
            before = self._store.load_config(record.name) or {}
            if namespaces_of(before).get("network") != namespaces_of(launch.config).get("network"):
                self._warnings += packet_lock.give_up(self._store, record)
        if record is None and source.is_foreign:
            self._warnings += left_out(source, request.wanted)
        lay_out(self._store, request.target, launch, source, with_log=request.include_logs)
        restored, warnings = create(self._store, launch, previous=record, timeouts=self._timeouts)
        self._warnings += warnings
        self._statistics = statistics(f"{self._store.paths(restored.name).bundle}/stats-restore")
        used_up(self._store, restored)

    def _delete(self) -> None:
        """Delete the checkpoint. Update the record first, because it must not name a missing checkpoint."""
        record = self._store.load(self._request.name)
        if record is not None and record.phase is Phase.CHECKPOINTED:
            self._warnings += packet_lock.give_up(self._store, record)
            ended = Exit(None, "checkpoint-deleted", None, False)
            self._store.save(record.replace(phase=Phase.REMOVED, checkpoint=None, last_exit=ended))
            if record.checkpoint is not None:
                discard(record.checkpoint.path)  # It may be unpacked data of a killed task.
        checkpoint_store.prune(self._store, self._request.name, keep=None)
        self._whole = None
